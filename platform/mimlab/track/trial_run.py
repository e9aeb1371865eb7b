"""A trial's child run: its folder, shown."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from mlflow import MlflowClient
from mlflow.entities import Run

from mimlab.storage.folders import TrialFolder
from mimlab.storage.journal import iter_points
from mimlab.storage.records import StatusRecord, TrialRecord, TrialState
from mimlab.storage.store import Store
from mimlab.track import labels, tags
from mimlab.track.boards import Boards
from mimlab.track.items import Items
from mimlab.track.note import trial_note
from mimlab.track.points import Points
from mimlab.track.probes import Probes
from mimlab.track.refused import Refused
from mimlab.track.runs import RunPlan, add_params, open_run, set_status, set_tags
from mimlab.track.sent import Sent
from mimlab.track.status import ACTIVE, trial_status


@dataclass(frozen=True)
class Parent:
    """The parent run, as its children need it."""

    client: MlflowClient
    store: Store
    uri: str
    link: str
    """Name of the file that says which run shows a folder."""
    experiment_id: str
    run_id: str
    submission_id: str
    dashboard: str
    """Its address; empty where none is known."""
    refused: Refused
    sent: Sent


def open_trial(parent: Parent, trial: TrialRecord) -> TrialRun:
    """The trial's run, with its parameters and files; the same one for life."""
    client, folder = parent.client, TrialFolder(parent.store, trial.id)
    plan = RunPlan(
        link=folder.file(parent.link),
        identified_by=tags.TRIAL_ID,
        name=labels.run_name(trial.point, trial.seed),
        tags=_first_tags(parent, trial),
        started=lambda: _first_time(folder),
    )
    run = open_run(client, parent.store, parent.uri, parent.experiment_id, plan, parent.sent)
    items = Items(client, run.info.run_id, f"trial {trial.id}", parent.refused)
    held_by = run.data.tags[tags.SUBMISSIONS].split()
    added: dict[str, str] = {}
    if parent.submission_id not in held_by:
        added[tags.SUBMISSIONS] = " ".join([*held_by, parent.submission_id])
    if tags.CELL not in run.data.tags:
        added[tags.CELL] = labels.cell_name(trial.point) or trial.study
    # A person may have written a note of their own.
    note = trial_note(trial, held_by[0], parent.dashboard)
    if note and not run.data.tags.get(tags.NOTE):
        added[tags.NOTE] = note
    if added:
        set_tags(client, run.info.run_id, added)
    return TrialRun(parent, run, trial, items)


def _first_tags(parent: Parent, trial: TrialRecord) -> dict[str, str]:
    first = {
        tags.PARENT_RUN: parent.run_id,
        tags.TRIAL_ID: trial.id,
        tags.SUBMISSIONS: parent.submission_id,
        tags.SEED: str(trial.seed),
    }
    recipe = trial.resolved.get("recipe")
    parent_step = None if trial.parent_step is None else str(trial.parent_step)
    others = {
        tags.RECIPE: recipe,
        tags.FORKED_FROM: trial.parent,
        tags.PARENT_STEP: parent_step,
    }
    return first | {tag: value for tag, value in others.items() if value}


def _first_time(folder: TrialFolder) -> int | None:
    first = next(iter_points(folder.store, folder.file("journal")), None)
    return first.time_ms if first else None


class TrialRun:
    """Sends what the trial's folder holds and MLflow does not."""

    def __init__(self, parent: Parent, run: Run, trial: TrialRecord, items: Items) -> None:
        client, sent, known = parent.client, parent.sent, run.data.tags
        folder = TrialFolder(parent.store, trial.id)
        self.run_id = run.info.run_id
        self.experiment_id = run.info.experiment_id
        self.state: TrialState = "pending"
        seq = int(known.get(tags.JOURNAL_SEQ, "0"))
        self.points = Points(client, self.run_id, folder, sent, seq=seq)
        self._probes = Probes(client, run, folder, trial, items, sent)
        self._boards = Boards(client, self.run_id, folder, items, sent)
        self._client = client
        self._run = run
        self._trial = trial
        self._folder = folder
        self._items = items
        self._sent = sent
        keys = (tags.STATE, tags.REASON, tags.ATTEMPT, tags.TOTAL_STEPS)
        self._opened = tags.OPENED in known
        self._shown = (run.info.status, {key: known.get(key) for key in keys})
        self._complete: StatusRecord | None = None

    @property
    def boards(self) -> frozenset[int]:
        """Steps whose boards MLflow is known to have."""
        return self._boards.steps

    def sync(self, *, left: bool, driven: Callable[[str], bool]) -> None:
        """Send what is new.

        All else goes before the status, which was read first: what MLflow calls finished is whole,
        but for what it refuses.

        Args:
            left: nobody watches any longer: look at everything once more, and call killed what
                claims to run.
            driven: whether a driver runs the trial of an id all the same; asked last.
        """
        status = self._folder.status()
        self.state = status.state
        ended = status.state not in ACTIVE
        same = status == self._complete
        if same and ended and not left and not self._items.due:
            return
        self._open()
        self.points.send()
        self._probes.send(again=left or (ended and not same))
        self._boards.send()
        self._show(status, left=left and not driven(self._trial.id))
        self._complete = status

    def _open(self) -> None:
        """Give the run what it is given once: its parameters and its file."""
        if self._opened:
            return
        name = "resolved.yaml"
        params = partial(add_params, self._client, self._run, labels.params(self._trial.identity))
        resolved = partial(self._client.log_dict, self.run_id, self._trial.resolved, name)
        sent = [self._items.send("parameters", params), self._items.send(name, resolved)]
        if all(sent):
            set_tags(self._client, self.run_id, {tags.OPENED: "true"})
            self._opened = True

    def _show(self, status: StatusRecord, *, left: bool) -> None:
        values = {
            tags.STATE: status.state,
            tags.REASON: status.reason,
            tags.ATTEMPT: str(status.attempt),
            tags.TOTAL_STEPS: str(status.total_steps),
        }
        if status.differs:
            values[tags.DIFFERS] = "; ".join(status.differs)
        shown = trial_status(status.state, left=left), values
        if shown == self._shown:
            return
        self._items.send("tags", partial(set_tags, self._client, self.run_id, values))
        set_status(self._client, self.run_id, shown[0], ended=status.updated)
        self._sent.statuses += shown[0] != self._shown[0]
        self._shown = shown
