"""The users of a storage: `<storage>/users/<name>.json`."""

from __future__ import annotations

import hmac
import re
from dataclasses import dataclass

from mimlab.errors import UserError
from mimlab.serve.identity.permissions import Role
from mimlab.serve.identity.tokens import USER_PATTERN, hash_of, new_token, user_of
from mimlab.storage.folders import now
from mimlab.storage.records import Record
from mimlab.storage.store import Store

FOLDER = "users"
_NOBODY = hash_of("nobody")


class UserRecord(Record):
    """One user."""

    name: str
    role: Role
    token_hash: str
    """SHA-256 of the token, in hexadecimal."""
    created: str
    """ISO 8601, UTC."""
    revoked: bool = False
    """Whether the token is worthless."""


@dataclass(frozen=True)
class Users:
    """Reads and changes them."""

    store: Store

    def any(self) -> bool:
        """Whether there are users at all: revoked ones count, so that nothing opens again."""
        return bool(self.store.list(FOLDER))

    def all(self) -> list[UserRecord]:
        """By name."""
        names = (name.removesuffix(".json") for name in self.store.list(FOLDER))
        return [user for user in map(self.get, names) if user is not None]

    def get(self, name: str) -> UserRecord | None:
        """None if nobody is called so, or could be."""
        if not re.fullmatch(USER_PATTERN, name):
            return None
        return self.store.read_record(_path(name), UserRecord)

    def add(self, name: str, role: Role) -> str:
        """A new user's token, which is shown once. Raises UserError."""
        if not re.fullmatch(USER_PATTERN, name):
            raise UserError(
                f"{name!r}: a user's name is of small letters, digits, `.` and `-`, begins with a "
                "letter and has at most 32 of them"
            )
        token = new_token(name)
        user = UserRecord(name=name, role=role, token_hash=hash_of(token), created=now())
        if not self.store.create(_path(name), user.to_bytes()):
            raise UserError(
                f"there is a user {name!r} already; a new token comes from "
                f"`mimlab user token {name}`, another role from `mimlab user role {name} ROLE`"
            )
        return token

    def renew(self, name: str) -> str:
        """Another token in the place of the user's, revoked or not. Raises UserError."""
        token = new_token(name)
        self._change(name, token_hash=hash_of(token), revoked=False)
        return token

    def set_role(self, name: str, role: Role) -> None:
        """Raises UserError if there is no such user."""
        self._change(name, role=role)

    def revoke(self, name: str) -> None:
        """Make the user's token and sessions worthless. Raises UserError if there is none."""
        self._change(name, revoked=True)

    def of_token(self, token: str) -> UserRecord | None:
        """Whose token this is; takes as long where there is no such user."""
        name = user_of(token)
        user = self.get(name) if name else None
        same = hmac.compare_digest(user.token_hash if user else _NOBODY, hash_of(token))
        return user if user is not None and same and not user.revoked else None

    def _change(self, name: str, **update: str | bool) -> None:
        user = self.get(name)
        if user is None:
            known = ", ".join(user.name for user in self.all()) or "none yet"
            raise UserError(f"there is no user {name!r}; there are: {known}")
        self.store.write_record(_path(name), user.model_copy(update=update))


def _path(name: str) -> str:
    return f"{FOLDER}/{name}.json"
