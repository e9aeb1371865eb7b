"""A lease that is renewed for as long as it is held."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator

from mimlab.exits import INTERRUPTED
from mimlab.repeated import repeated
from mimlab.storage import lease
from mimlab.storage.folders import SubmissionFolder


@contextlib.contextmanager
def held(submission: SubmissionFolder, *, wait_s: float = 0.0) -> Iterator[lease.Lease]:
    """Hold a submission's lease for the duration of the context.

    `wait_s`: for storage that takes no lease at first, because it is away or full.

    Raises UserError if another process holds it. Should another one take it over all the same, this
    process ends at once.
    """
    patient = SubmissionFolder(submission.store.patient(wait_s), submission.id)
    own = lease.acquire(patient).through(submission)

    def renew() -> bool:
        try:
            own.renew()
        except lease.LeaseLost as error:
            # Whatever this process wrote from now on would be somebody else's: end at once, and
            # with it the cluster that it started.
            print(f"error: {error}; ending", file=sys.stderr, flush=True)
            os._exit(INTERRUPTED)
        except OSError:
            pass  # a renewal that failed is not a lease that is lost
        return False

    try:
        with repeated(renew, every_s=lease.RENEW_S, name="lease"):
            yield own
    finally:
        # A disk that is full takes no release; the next driver sees that this process is gone.
        with contextlib.suppress(OSError):
            own.release()
