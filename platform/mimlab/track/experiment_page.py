"""What MLflow shows of an experiment: its note, its views and the metric that it begins with."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from mlflow import MlflowClient

from mimlab.storage.records import SubmissionRecord, TrialRecord
from mimlab.track import tags
from mimlab.track.comparison_view import MASKINGS, TRIALS, compared, maskings_view, trials_view
from mimlab.track.items import Items
from mimlab.track.note import Shown, experiment_note
from mimlab.track.runs import unix_ms
from mimlab.track.shared_view import PREFIX, PageState, tag_of


class ExperimentPage:
    """Keeps an experiment's tags in step with the latest submission that compares trials; writes
    what changed only."""

    def __init__(
        self,
        client: MlflowClient,
        experiment_id: str,
        submission: SubmissionRecord,
        items: Items,
    ) -> None:
        self._client = client
        self._experiment_id = experiment_id
        self._submission = submission
        self._items = items
        self._there: dict[str, str] | None = None
        """The experiment's tags; None until they were asked for."""

    def write(self, trials: Sequence[TrialRecord], shown: Shown) -> None:
        """Write the note and the views of these trials."""
        if self._is_another_s(trials):
            return
        what = compared(self._submission, trials, shown.boards)
        written = {
            tags.NOTE: experiment_note(self._submission, shown),
            PREFIX + MASKINGS: self._view("Maskings compared", maskings_view(what)),
            PREFIX + TRIALS: self._view("Trials", trials_view(what)),
        }
        if what.probes:
            written[tags.PRIMARY_METRIC] = what.probes[0]
        there = self._tags()
        for key, value in written.items():
            if there.get(key) != value:
                write = partial(self._client.set_experiment_tag, self._experiment_id, key, value)
                if self._items.send(f"the experiment's {key}", write):
                    there[key] = value

    def _is_another_s(self, trials: Sequence[TrialRecord]) -> bool:
        """Whether they compare nothing, and another submission is shown: that goes on."""
        is_fork = len(trials) == 1 and trials[0].parent is not None
        note = self._tags().get(tags.NOTE, "")
        return is_fork and bool(note) and self._submission.id not in note

    def _tags(self) -> dict[str, str]:
        if self._there is None:
            self._there = dict(self._client.get_experiment(self._experiment_id).tags)
        return self._there

    def _view(self, name: str, state: PageState) -> str:
        created_ms = unix_ms(self._submission.created) or 0
        return tag_of(name, created_ms=created_ms, state=state)
