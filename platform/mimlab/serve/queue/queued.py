"""A launcher that lets what it is to start wait for its user's share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mimlab.actions.launch import Launcher
from mimlab.errors import UserError
from mimlab.serve.queue.driving import ACTIVE
from mimlab.serve.queue.folder import Queue
from mimlab.serve.queue.need import need_of
from mimlab.serve.queue.records import Need
from mimlab.storage.folders import SubmissionFolder


@dataclass(frozen=True)
class Queued:
    """Starts by way of the queue, for one user; everything else goes to the launcher behind it."""

    queue: Queue
    launcher: Launcher
    user: str
    need: Need | None = None
    """What the submission holds, where its folder is not made before it runs."""

    def start(self, submission_id: str, words: list[str], working_dir: Path | None) -> None:
        """Raises UserError if the submission waits already or is being started, or is more than the
        user may hold."""
        self._refuse_begun(submission_id)
        folder = SubmissionFolder(self.queue.store, submission_id)
        self.queue.add(
            submission_id,
            user=self.user,
            need=self.need or need_of(folder),
            words=words,
            code=None if working_dir is None else working_dir.read_bytes(),
        )

    def state(self, submission_id: str) -> str | None:
        if self.queue.waiting(submission_id) is not None:
            return "pending"
        return self.launcher.state(submission_id)

    def log_tail(self, submission_id: str, lines: int) -> str:
        return self.launcher.log_tail(submission_id, lines)

    def page(self, submission_id: str) -> str | None:
        return self.launcher.page(submission_id)

    def stop(self, submission_id: str) -> None:
        """Withdraw what waits, stop what runs."""
        waiting = self.queue.waiting(submission_id)
        if waiting is None:
            self.launcher.stop(submission_id)
        else:
            self.queue.withdraw(waiting.number)

    def _refuse_begun(self, submission_id: str) -> None:
        """Another driver would only wait for the end of the one that comes."""
        begun = self.queue.started(submission_id)
        if begun is not None and self.launcher.state(submission_id) in ACTIVE:
            raise UserError(
                f"{submission_id} is being started, or about to end, as number {begun.number} of "
                "the queue; wait for that"
            )
