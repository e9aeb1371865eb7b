"""A lease that is renewed for as long as it is held."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Iterator

from mimlab.storage import lease
from mimlab.storage.folders import SubmissionFolder


@contextlib.contextmanager
def held(submission: SubmissionFolder) -> Iterator[lease.Lease]:
    """Hold a submission's lease for the duration of the context.

    Raises UserError if another process holds it. Should another one take it over all the same, this
    process ends at once.
    """
    own = lease.acquire(submission)
    ended = threading.Event()

    def renew() -> None:
        while not ended.wait(lease.RENEW_S):
            try:
                own.renew()
            except lease.LeaseLost as error:
                # Whatever this process wrote from now on would be somebody else's: end at
                # once, and with it the cluster that it started.
                print(f"error: {error}; ending", file=sys.stderr, flush=True)
                os._exit(1)
            except OSError:
                continue  # a renewal that failed is not a lease that is lost

    thread = threading.Thread(target=renew, name="lease", daemon=True)
    thread.start()
    try:
        yield own
    finally:
        ended.set()
        thread.join()
        own.release()
