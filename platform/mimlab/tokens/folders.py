"""Folders of work that was begun: one process at a time, and what it leaves serves the next one."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pydantic import BaseModel, ValidationError

from mimlab.data.claiming import Claim
from mimlab.data.publishing import write_whole
from mimlab.errors import UserError
from mimlab.storage.remote_path import Place

CLAIM = "claim.json"
"""Says which process works in the folder."""


def working_folder(out: Place, settings: BaseModel) -> Place:
    """A folder beside `out` that belongs to exactly these settings."""
    key = hashlib.sha256(settings.model_dump_json().encode()).hexdigest()[:12]
    return out.parent / f"{out.name}.fitting-{key}"


@contextmanager
def working_in(folder: Place, *, called: Place, work: str, instead: str) -> Iterator[None]:
    """The folder, made and claimed by this process; it stays, with what is in it.

    Raises UserError where another process works in it, `<called>: process … is <work>; wait for it,
    or <instead>`, and OSError where it cannot be made.
    """
    if claim := _others_claim(folder):
        here = claim.dead is False
        remedy = "wait for it" if here else f"if that has died, remove {folder / CLAIM}"
        raise UserError(
            f"{called}: process {claim.pid} on {claim.host} is {work}; {remedy}, or {instead}"
        )
    if isinstance(folder, Path):
        folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / CLAIM, Claim.own().model_dump_json().encode())
    try:
        yield
    finally:
        with suppress(OSError):
            remove(folder / CLAIM)


def names_in(folder: Place) -> set[str]:
    """Of what lies in a folder; none if it is not there."""
    if isinstance(folder, Path):
        return {entry.name for entry in folder.iterdir()} if folder.is_dir() else set()
    return {name for name, _ in folder.entries()}


def remove(place: Place) -> None:
    """A file, or a folder with everything in it; it may already be gone."""
    if not isinstance(place, Path):
        place.remove()
    elif place.is_dir():
        shutil.rmtree(place, ignore_errors=True)
    else:
        place.unlink(missing_ok=True)


def _others_claim(folder: Place) -> Claim | None:
    """That of another process, unless it has died."""
    try:
        claim = Claim.model_validate_json((folder / CLAIM).read_bytes())
    except (FileNotFoundError, NotADirectoryError, ValidationError):
        return None
    return None if claim.by_this_process or claim.dead else claim
