"""All or nothing where nothing can be renamed: a folder elsewhere is claimed, filled, committed.

Object stores have no rename, so the shards are written where they stay, and the manifest, written
last, makes them a data set. Until then `importing.json` says whose they are.
"""

from __future__ import annotations

import os
import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from pydantic import BaseModel, ConfigDict

from mimlab.errors import UserError
from mimlab.storage.filesystems import RemoteError
from mimlab.storage.machine import machine, process_born
from mimlab.storage.remote_path import RemotePath

CLAIM = "importing.json"


class Claim(BaseModel):
    """Who fills a folder."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    host: str
    """For people."""
    machine: str
    """`mimlab.storage.machine.machine()`."""
    pid: int
    process_born: int
    """Tells a reused pid from the process that claimed."""
    token: str
    """Tells two claims of one process apart."""

    @classmethod
    def own(cls) -> Claim:
        """A new claim by this process."""
        born = process_born(os.getpid())
        assert born is not None
        return cls(
            host=socket.gethostname(),
            machine=machine(),
            pid=os.getpid(),
            process_born=born,
            token=uuid.uuid4().hex,
        )

    @property
    def dead(self) -> bool | None:
        """Whether its process has ended; None where that cannot be seen from here."""
        return process_born(self.pid) != self.process_born if self.machine == machine() else None

    @property
    def by_this_process(self) -> bool:
        return (self.machine, self.pid) == (machine(), os.getpid())


@contextmanager
def claimed(out: RemotePath, manifest: str) -> Iterator[RemotePath]:
    """`out` itself, which must hold nothing, or what a killed import has left and is removed.

    The block writes `manifest` last. If it raises, nothing is left. Raises UserError where the
    folder holds something, is being filled, or cannot be written to.
    """
    try:
        _refuse_taken(out, manifest)
        own = Claim.own()
        (out / CLAIM).write_bytes(own.model_dump_json().encode())
    except RemoteError as error:
        raise UserError(str(error)) from error
    try:
        yield out
    except BaseException:
        # A bucket that is away now has failed the block already.
        with suppress(RemoteError):
            if _claim_in(out) == own:
                out.remove()
        raise
    (out / CLAIM).remove()


def still_claimed(out: RemotePath) -> None:
    """To be asked before the commit: raises UserError if another process has claimed the folder."""
    claim = _claim_in(out)
    if claim is None or not claim.by_this_process:
        raise UserError(f"{out}: another import has taken this folder; name another one")


def _refuse_taken(out: RemotePath, manifest: str) -> None:
    names = [name for name, _ in out.entries()]
    if not names:
        return
    claim = _claim_in(out) if CLAIM in names and manifest not in names else None
    if claim is None:
        raise UserError(f"{out}: exists already; choose another folder or remove it first")
    if claim.dead:
        out.remove()
        return
    by = f"process {claim.pid} on {claim.host}"
    remedy = "wait for it" if claim.dead is False else "if that has died, remove the folder"
    raise UserError(f"{out}: {by} is importing into it; {remedy}, or choose another one")


def _claim_in(out: RemotePath) -> Claim | None:
    try:
        return Claim.model_validate_json((out / CLAIM).read_bytes())
    except (FileNotFoundError, ValueError):
        return None
