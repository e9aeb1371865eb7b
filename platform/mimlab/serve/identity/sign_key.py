"""The key that cookies are signed with: made on first use, readable by its owner alone."""

from __future__ import annotations

import contextlib
import os
import secrets

from mimlab.errors import UserError
from mimlab.storage.store import Store

KEY_BYTES = 32
_FILE = ".dashboard-key"


def sign_key(store: Store) -> bytes:
    """Of this storage: beside the results, or in the user's cache where they are in a bucket.

    Raises UserError if others may read the file.
    """
    file = store.scratch(_FILE)
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_name(f"{_FILE}.{secrets.token_hex(4)}")
    if not file.exists():
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as out:
            out.write(secrets.token_bytes(KEY_BYTES))
        with contextlib.suppress(FileExistsError):  # another process was faster
            os.link(temporary, file)
        temporary.unlink()
    if file.stat().st_mode & 0o077:
        raise UserError(
            f"{file}: others may read or change the key that signs sessions; remove it, and "
            "another one is made"
        )
    return file.read_bytes()
