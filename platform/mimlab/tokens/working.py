"""The working folder of a fit: what one try has gathered, for the next one of the same."""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pydantic import BaseModel, ValidationError

from mimlab.data.claiming import Claim
from mimlab.data.publishing import write_durably
from mimlab.errors import UserError
from mimlab.storage.filesystems import RemoteError
from mimlab.storage.remote_path import Place

CLAIM = "claim.json"


def working_folder(out: Place, settings: BaseModel) -> Place:
    """A folder beside `out` that belongs to exactly these settings."""
    key = hashlib.sha256(settings.model_dump_json().encode()).hexdigest()[:12]
    return out.parent / f"{out.name}.fitting-{key}"


@contextmanager
def working(folder: Place) -> Iterator[None]:
    """The folder, made and claimed by this process; it stays, with what is in it.

    Raises UserError where another process works in it, or it cannot be made.
    """
    try:
        _refuse_claimed(folder)
        _write(folder / CLAIM, Claim.own().model_dump_json().encode())
    except RemoteError as error:
        raise UserError(str(error)) from error
    except OSError as error:
        raise UserError(f"{folder}: cannot be made ({error.strerror})") from error
    try:
        yield
    finally:
        with suppress(OSError):
            _remove(folder / CLAIM)


def names_in(folder: Place) -> set[str]:
    """Of the files in a folder; none if it is not there."""
    if isinstance(folder, Path):
        return {file.name for file in folder.iterdir()} if folder.is_dir() else set()
    return {name for name, _ in folder.entries()}


def remove_folder(folder: Place) -> None:
    """With everything in it."""
    if isinstance(folder, Path):
        shutil.rmtree(folder, ignore_errors=True)
    else:
        folder.remove()


def _write(place: Place, content: bytes) -> None:
    if isinstance(place, Path):
        place.parent.mkdir(parents=True, exist_ok=True)
        write_durably(place, content)
    else:
        place.write_bytes(content)


def _remove(place: Place) -> None:
    if isinstance(place, Path):
        place.unlink(missing_ok=True)
    else:
        place.remove()


def _refuse_claimed(folder: Place) -> None:
    try:
        claim = Claim.model_validate_json((folder / CLAIM).read_bytes())
    except (FileNotFoundError, ValidationError):
        return
    if claim.dead or (claim.host, claim.pid) == (socket.gethostname(), os.getpid()):
        return
    remedy = "wait for it" if claim.dead is False else f"if that has died, remove {folder / CLAIM}"
    raise UserError(
        f"{folder}: process {claim.pid} on {claim.host} is fitting the same; {remedy}, or name "
        "another folder with --to"
    )
