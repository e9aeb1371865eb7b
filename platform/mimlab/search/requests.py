"""What users ask of a submission while its driver runs it: stop, pause, and put a trial back."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator

from mimlab.errors import UserError
from mimlab.repeated import repeated
from mimlab.storage import control
from mimlab.storage.asked import WHOLE, Asked, asked_of, withdraw
from mimlab.storage.control import StopRequest
from mimlab.storage.folders import SubmissionFolder, TrialFolder
from mimlab.storage.lease import UNDER_WAY, LeaseLost
from mimlab.storage.records import DONE

POLL_S = 1.0
"""Between two looks; a look lists one folder."""


class Requests:
    """Carries them out."""

    def __init__(
        self,
        submission: SubmissionFolder,
        stop: Callable[[str], None],
        make_ready: Callable[[TrialFolder], bool],
        stopping: threading.Event,
    ) -> None:
        """`stop(reason)`: asks every trial to save and end, and starts no other; `make_ready`: lets
        a trial that has ended wait for its turn again, False where it cannot; `stopping`: set once
        no trial is started any more, so that who asks for one is left to the next driver."""
        self.ended_by = ""
        """Who had the whole submission stopped or paused, in words; empty: nobody."""
        self._submission = submission
        self._stop = stop
        self._make_ready = make_ready
        self._stopping = stopping
        self._no_more = False
        """Whether nothing is left that a trial could be put back into."""
        self._passed_on: set[tuple[str, Asked]] = set()
        self._back: list[str] = []
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Meanwhile, look every now and then."""
        with repeated(self.look, every_s=POLL_S, name="requests"):
            yield

    @contextlib.contextmanager
    def watched_at_the_end(self) -> Iterator[None]:
        """The same once every trial has ended: who asks for one is left to the next driver."""
        self._no_more = True
        with self.watched():
            yield

    def look(self) -> bool:
        """Do what is asked by now; whether it was to end."""
        try:
            asked = asked_of(self._submission)
            whole = asked.pop(WHOLE, None)
            if whole is not None:
                self.ended_by = whole.reason
                self._stop(whole.reason)
                return True
            for trial_id, request in asked.items():
                self._of_trial(TrialFolder(self._submission.store, trial_id), request)
        except (OSError, UserError):
            return False  # the storage may be back at the next look
        except LeaseLost:
            return True
        return False

    def back(self) -> list[str]:
        """Ids of the trials that are to run again, each told once."""
        with self._lock:
            told, self._back = self._back, []
        return told

    def _of_trial(self, trial: TrialFolder, request: Asked) -> None:
        if request.what == "resume":
            if not self._stopping.is_set() and not self._no_more:
                self._put_back(trial)
            return
        known = (trial.id, request)
        if known not in self._passed_on and trial.status().state not in DONE:
            ask = StopRequest(state="stopped", reason=request.reason)
            control.request_stop(trial, ask)
            self._passed_on.add(known)
        if request.what == "stop":
            withdraw(self._submission, trial.id)

    def _put_back(self, trial: TrialFolder) -> None:
        """Once it has ended: one that was asked to stop may still be saving."""
        if trial.status().state not in UNDER_WAY:
            if self._make_ready(trial):
                with self._lock:
                    self._back.append(trial.id)
        elif control.stop_request(trial) is not None:
            return
        withdraw(self._submission, trial.id)
