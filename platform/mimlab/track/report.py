"""The comparison's report as a file of the parent run, made again as trials end."""

from __future__ import annotations

import hashlib
import time
from functools import partial

from mlflow import MlflowClient
from mlflow.entities import Run

from mimlab.storage.folders import SubmissionFolder
from mimlab.storage.records import TrialState
from mimlab.track import tags
from mimlab.track.items import Items
from mimlab.track.runs import set_tags

NAME = "report.html"
FIRST_WAIT_S = 300.0
SHARE = 0.05
"""Of a driver's time that may go into reports: those of thousands of trials take minutes."""

_GOES_ON: frozenset[TrialState] = frozenset({"pending", "running", "probing"})


class Report:
    """Sends the report whenever other trials have ended than the last one shows, not too often."""

    def __init__(
        self, client: MlflowClient, run: Run, submission: SubmissionFolder, items: Items
    ) -> None:
        self._client = client
        self._run_id = run.info.run_id
        self._submission = submission
        self._items = items
        self._shown = run.data.tags.get(tags.REPORTED, "")
        self._next = time.monotonic() + FIRST_WAIT_S

    @property
    def there(self) -> bool:
        """Whether MLflow has a report."""
        return bool(self._shown)

    def sync(self, states: dict[str, TrialState], *, last: bool) -> None:
        """Send the report if it is due.

        Args:
            states: of each trial, by its id.
            last: there is no later time, so however recent the one before.
        """
        ended: dict[str, TrialState] = {
            id_: state for id_, state in states.items() if state not in _GOES_ON
        }
        mark = _hash(ended)
        if not ended or mark == self._shown or not (last or time.monotonic() >= self._next):
            return
        begun = time.monotonic()
        if self._items.send(NAME, partial(self._send, mark)):
            self._shown = mark
        now = time.monotonic()
        self._next = now + max(FIRST_WAIT_S, (now - begun) / SHARE)

    def _send(self, mark: str) -> None:
        from mimlab.compare.report import report_of  # plotly takes a second to import
        from mimlab.compare.trials import read_trials

        page = report_of(self._submission, read_trials(self._submission))
        self._client.log_text(self._run_id, page, NAME)
        set_tags(self._client, self._run_id, {tags.REPORTED: mark})


def _hash(ended: dict[str, TrialState]) -> str:
    text = "\n".join(f"{trial_id} {state}" for trial_id, state in sorted(ended.items()))
    return hashlib.sha256(text.encode()).hexdigest()[:16]
