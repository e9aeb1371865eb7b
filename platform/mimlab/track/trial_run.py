"""A trial's child run: its folder, shown."""

from __future__ import annotations

from dataclasses import dataclass

from mlflow import MlflowClient
from mlflow.entities import Run

from mimlab.storage.folders import TrialFolder
from mimlab.storage.journal import read_points
from mimlab.storage.records import StatusRecord, TrialRecord, TrialState
from mimlab.storage.store import Store
from mimlab.track import labels, tags
from mimlab.track.boards import Boards
from mimlab.track.points import Points
from mimlab.track.probes import Probes
from mimlab.track.runs import RunPlan, add_params, open_run, set_status, set_tags
from mimlab.track.status import ACTIVE, trial_status


@dataclass(frozen=True)
class Parent:
    """The parent run, as its children need it."""

    client: MlflowClient
    store: Store
    uri: str
    experiment_id: str
    run_id: str
    submission_id: str


def open_trial(parent: Parent, trial: TrialRecord) -> TrialRun:
    """The trial's run, with its parameters and files; the same one for life."""
    client, folder = parent.client, TrialFolder(parent.store, trial.id)
    plan = RunPlan(
        link=folder.file("mlflow.json"),
        identified_by=tags.TRIAL_ID,
        name=labels.run_name(trial.point, trial.seed),
        tags=_first_tags(parent, trial),
        started=lambda: _first_time(folder),
    )
    run = open_run(client, parent.store, parent.uri, parent.experiment_id, plan)
    if tags.OPENED not in run.data.tags:
        add_params(client, run, labels.params(trial.identity))
        client.log_dict(run.info.run_id, trial.resolved, "resolved.yaml")
        set_tags(client, run.info.run_id, {tags.OPENED: "true"})
    held_by = run.data.tags[tags.SUBMISSIONS].split()
    if parent.submission_id not in held_by:
        both = " ".join([*held_by, parent.submission_id])
        set_tags(client, run.info.run_id, {tags.SUBMISSIONS: both})
    return TrialRun(client, run, folder, trial)


def _first_tags(parent: Parent, trial: TrialRecord) -> dict[str, str]:
    first = {
        tags.PARENT_RUN: parent.run_id,
        tags.TRIAL_ID: trial.id,
        tags.SUBMISSIONS: parent.submission_id,
        tags.SEED: str(trial.seed),
    }
    recipe = trial.resolved.get("recipe")
    others = {tags.RECIPE: recipe, tags.FORKED_FROM: trial.parent}
    return first | {tag: value for tag, value in others.items() if value}


def _first_time(folder: TrialFolder) -> int | None:
    points = read_points(folder.store, folder.file("journal"))
    return points[0].time_ms if points else None


class TrialRun:
    """Sends what the trial's folder holds and MLflow does not."""

    def __init__(
        self, client: MlflowClient, run: Run, folder: TrialFolder, trial: TrialRecord
    ) -> None:
        known = run.data.tags
        self.run_id = run.info.run_id
        self.experiment_id = run.info.experiment_id
        self.state: TrialState = "pending"
        self.points = Points(client, self.run_id, folder, seq=int(known.get(tags.JOURNAL_SEQ, "0")))
        self._probes = Probes(client, run, folder, trial)
        self._boards = Boards(client, self.run_id, folder)
        self._client = client
        self._folder = folder
        keys = (tags.STATE, tags.REASON, tags.ATTEMPT, tags.TOTAL_STEPS)
        self._shown = (run.info.status, {key: known.get(key) for key in keys})
        self._complete: StatusRecord | None = None

    def sync(self, *, left: bool) -> None:
        """Send what is new; with `left`, the driver ends and looks at everything once more.

        All else goes before the status, which was read first: what MLflow calls finished is whole.
        """
        status = self._folder.status()
        self.state = status.state
        if status == self._complete and status.state not in ACTIVE and not left:
            return
        self.points.send()
        self._probes.send()
        self._boards.send()
        self._show(status, left=left)
        self._complete = status

    def _show(self, status: StatusRecord, *, left: bool) -> None:
        values = {
            tags.STATE: status.state,
            tags.REASON: status.reason,
            tags.ATTEMPT: str(status.attempt),
            tags.TOTAL_STEPS: str(status.total_steps),
        }
        shown = trial_status(status.state, left=left), values
        if shown != self._shown:
            set_tags(self._client, self.run_id, values)
            set_status(self._client, self.run_id, shown[0], ended=status.updated)
            self._shown = shown
