"""Shards that are not what was written, told apart from storage that fails."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa

from mimlab.errors import UserError
from mimlab.storage.filesystems import RemoteError
from mimlab.storage.remote_path import Place

_SIGNS = "checksum|CRC|deserializ|Parquet|page header|end of stream|magic bytes"
"""What Arrow's Parquet reader says of bytes that it does not understand."""


@contextmanager
def damage_told(file: Place, part: str, remedy: str) -> Iterator[None]:
    """Turn what Arrow says of damaged bytes in a part of a file into one line: a UserError.

    What a failing disk or network raises stays, because reading again may help there.
    """
    try:
        yield
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        if not _is_damage(error, file):
            raise
        said = " ".join(str(error).split())
        raise UserError(f"{file}: {part} is damaged ({said[:200]}): {remedy}") from error


def _is_damage(error: Exception, file: Place) -> bool:
    if isinstance(error, pa.ArrowInvalid | pa.ArrowNotImplementedError | UnicodeDecodeError):
        return True
    if not isinstance(error, OSError) or isinstance(error, RemoteError):
        return False
    # The system's own errors have a number; clients of other services put theirs into words.
    here = isinstance(file, Path)
    return error.errno is None and (here or re.search(_SIGNS, str(error)) is not None)
