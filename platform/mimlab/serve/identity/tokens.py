"""API tokens: `mimlab_<user>_<256 random bits>`, of which only a hash is kept."""

from __future__ import annotations

import hashlib
import re
import secrets

SECRET_BYTES = 32
USER_PATTERN = r"[a-z][a-z0-9.-]{0,31}"
"""What a user may be called: no `_`, which ends the name within a token."""

_TOKEN = re.compile(rf"mimlab_({USER_PATTERN})_([A-Za-z0-9_-]{{43}})")


def new_token(user: str) -> str:
    """A token that nobody can guess."""
    return f"mimlab_{user}_{secrets.token_urlsafe(SECRET_BYTES)}"


def user_of(token: str) -> str | None:
    """Whose token this says it is; None if it is none."""
    match = _TOKEN.fullmatch(token)
    return match[1] if match else None


def hash_of(token: str) -> str:
    """What is kept. Plain SHA-256: nothing needs to be slow where 256 bits are random."""
    return hashlib.sha256(token.encode()).hexdigest()
