"""What ties a driver to the supervisor that started it: a pipe, and the end of both."""

from __future__ import annotations

import ctypes
import json
import os
import signal

from mimlab.storage.folders import SubmissionFolder
from mimlab.storage.store import Store

VARIABLE = "MIMLAB_SUPERVISOR"
"""Number of the pipe's end that the driver writes to."""

_SUPERVISED = "MIMLAB_SUPERVISED"
_PR_SET_PDEATHSIG = 1
"""prctl(2), man7.org/linux/man-pages/man2/prctl.2.html."""


def end_with_supervisor() -> None:
    """Ask the kernel for SIGTERM to this process when the one that started it is gone.

    Else a driver would go on alone, and be in the way of the next supervisor. Called between fork
    and exec.
    """
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def of_driver(pipe: int) -> dict[str, str]:
    """Environment variables of a driver that tells where it is through `pipe`."""
    return {VARIABLE: str(pipe), _SUPERVISED: "1"}


def supervised() -> bool:
    """Whether somebody starts this process again when it was interrupted."""
    return _SUPERVISED in os.environ


def tell(submission: SubmissionFolder) -> None:
    """Called by a driver once it holds the submission; nothing happens where nobody supervises."""
    pipe = os.environ.pop(VARIABLE, None)  # the driver's own children have nothing to tell
    if pipe is None:
        return
    place = {"storage": str(submission.store.root), "submission": submission.id}
    with os.fdopen(int(pipe), "w") as file:
        json.dump(place, file)


def told(pipe: int) -> SubmissionFolder | None:
    """What a driver that has ended told, if it came so far. `pipe` does not block."""
    try:
        said = os.read(pipe, 1 << 16)
    except BlockingIOError:
        return None
    if not said:
        return None
    place = json.loads(said)
    return SubmissionFolder(Store(place["storage"]), place["submission"])
