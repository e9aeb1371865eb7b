"""A browser's session: a signed cookie, so that the server keeps no list of them."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, ValidationError

from mimlab.serve.identity.users import UserRecord, Users

COOKIE = "mimlab_session"
LASTS_S = 12 * 3600.0
"""A working day; then one logs in again."""


class Session(BaseModel):
    """What the cookie says."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    user: str
    token: str
    """Begin of the hash of the user's token: a session ends with the token that began it."""
    expires: float
    """Unix seconds."""


@dataclass(frozen=True)
class Sessions:
    """Begins and recognises sessions."""

    key: bytes
    users: Users
    clock: Callable[[], float] = time.time

    def begin(self, user: UserRecord) -> str:
        """The cookie of a new session."""
        session = Session(
            id=secrets.token_urlsafe(16),
            user=user.name,
            token=_mark(user),
            expires=self.clock() + LASTS_S,
        )
        payload = base64.urlsafe_b64encode(session.model_dump_json().encode()).decode()
        return f"{payload}.{self._signature('session', payload)}"

    def read(self, cookie: str) -> tuple[Session, UserRecord] | None:
        """The session of a cookie and its user; None if it is forged, has expired or was ended."""
        payload, _, signature = cookie.partition(".")
        if not _equal(signature, self._signature("session", payload)):
            return None
        try:
            session = Session.model_validate_json(base64.urlsafe_b64decode(payload))
        except (binascii.Error, ValidationError):
            return None
        user = self.users.get(session.user)
        if user is None or user.revoked or session.expires <= self.clock():
            return None
        return (session, user) if _equal(session.token, _mark(user)) else None

    def csrf_token(self, session: Session) -> str:
        """What unsafe requests of the session must carry; another site cannot know it."""
        return self._signature("csrf", session.id)

    def is_csrf_token(self, session: Session, token: str) -> bool:
        return _equal(token, self.csrf_token(session))

    def _signature(self, use: str, text: str) -> str:
        return hmac.new(self.key, f"{use}:{text}".encode(), hashlib.sha256).hexdigest()


def _mark(user: UserRecord) -> str:
    return user.token_hash[:16]


def _equal(given: str, right: str) -> bool:
    return hmac.compare_digest(given.encode(), right.encode())
