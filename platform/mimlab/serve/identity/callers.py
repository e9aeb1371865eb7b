"""Who sent a request: a token's owner, a browser session's, or the person at this machine."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.requests import HTTPConnection

from mimlab.serve.errors import ApiError, away_of
from mimlab.serve.identity.permissions import Action, Role, may, needed_role
from mimlab.serve.identity.sessions import COOKIE, Session, Sessions
from mimlab.serve.identity.tokens import user_of
from mimlab.serve.identity.users import UserRecord, Users
from mimlab.serve.security.origins import SAFE_METHODS
from mimlab.serve.security.rates import FailureLimit
from mimlab.storage.filesystems import RemoteError
from mimlab.user import this_user

CSRF_HEADER = "X-CSRF-Token"
_FORWARDED = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via")


@dataclass(frozen=True)
class Caller:
    """Who asks."""

    name: str
    role: Role
    session: Session | None = None
    """Of a browser."""
    local: bool = False
    """Whether there are no users: whoever sits at this machine is an operator."""

    def require(self, action: Action, owner: str | None = None) -> None:
        """Raises ApiError unless the caller may do this; `owner`: whose run it is, if one's.

        Without an owner it is asked whether there are runs that the caller may do it to.
        """
        own = owner is None or owner == self.name
        if may(self.role, action, own=own):
            return
        if owner is not None and may(self.role, action, own=True):
            raise ApiError(403, f"{owner} submitted this; to {action} it takes the role operator")
        raise ApiError(
            403, f"to {action} takes the role {needed_role(action)}; {self.name} is a {self.role}"
        )


@dataclass(frozen=True)
class Callers:
    """Recognises them."""

    users: Users
    sessions: Sessions
    failures: FailureLimit
    """Of one address with one name's tokens."""
    addresses: FailureLimit
    """Of one address in all: several people may sit behind it."""
    users_only: bool = False
    """Whether nobody gets in without a token even where there are no users."""

    def of(self, connection: HTTPConnection) -> Caller:
        """Raises ApiError: 401 for nobody, 403 without a CSRF token, 429 after many failures, 503
        while the storage is away."""
        try:
            return self._of(connection)
        except RemoteError:
            raise  # says itself what is wrong
        except OSError as error:
            if (away := away_of(error)) is None:
                raise
            raise away from error

    def _of(self, connection: HTTPConnection) -> Caller:
        bearer = _bearer(connection)
        if bearer is not None:
            user = self.login(bearer, connection)
            return Caller(user.name, user.role)
        if not self.users_only and not self.users.any():
            return _at_this_machine(connection)
        found = self.sessions.read(connection.cookies.get(COOKIE, ""))
        if found is None:
            raise ApiError(
                401,
                "nobody is logged in; send `Authorization: Bearer TOKEN`, or log in. "
                "`mimlab user add NAME` makes a token",
            )
        session, user = found
        self._check_csrf(connection, session)
        return Caller(user.name, user.role, session)

    def login(self, token: str, connection: HTTPConnection) -> UserRecord:
        """The owner of a token. Raises ApiError: 401, or 429 after many failures."""
        address = connection.client.host if connection.client else "unknown"
        # Never a name alone: whoever knows it could then lock its owner out from anywhere.
        key = f"{address} {user_of(token)}"
        wait_s = max(self.failures.wait_s(key), self.addresses.wait_s(address))
        if wait_s:
            raise ApiError(
                429, f"too many failed attempts; wait {wait_s:.0f} seconds", retry_s=wait_s
            )
        user = self.users.of_token(token)
        if user is None:
            self.failures.failed(key)
            self.addresses.failed(address)
            raise ApiError(401, "the token is not valid; `mimlab user token NAME` makes another")
        return user

    def _check_csrf(self, connection: HTTPConnection, session: Session) -> None:
        method = connection.scope.get("method", "GET")  # a websocket's handshake is a GET
        given = connection.headers.get(CSRF_HEADER, "")
        if method not in SAFE_METHODS and not self.sessions.is_csrf_token(session, given):
            raise ApiError(
                403, f"send the session's `csrf_token` in the header {CSRF_HEADER}: GET /session"
            )


def _bearer(connection: HTTPConnection) -> str | None:
    scheme, _, token = connection.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


def _at_this_machine(connection: HTTPConnection) -> Caller:
    if any(name in connection.headers for name in _FORWARDED):
        raise ApiError(
            403,
            "this dashboard has no users and is reached through a proxy, so that everybody could "
            "do everything; make users with `mimlab user add NAME`",
        )
    return Caller(this_user(), "operator", local=True)
