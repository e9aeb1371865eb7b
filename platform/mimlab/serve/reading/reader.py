"""The read model of one storage: what pages and API show, remembered as long as it is true."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np

from mimlab.errors import UserError
from mimlab.probe.labels import label_of, metric_key
from mimlab.serve.queue.folder import Queue
from mimlab.serve.reading import submissions as submissions_
from mimlab.serve.reading import trials as trials_
from mimlab.serve.reading.details import detail_of, experiment_page
from mimlab.serve.reading.files import CachedFiles
from mimlab.serve.reading.hours import Allowance, Hours
from mimlab.serve.reading.journals import Journals
from mimlab.serve.reading.mlflow_watch import MlflowWatch
from mimlab.serve.reading.models import (
    Curve,
    Place,
    Relative,
    ShownState,
    SubmissionDetail,
    SubmissionSummary,
    TrialDetail,
    TrialSummary,
)
from mimlab.serve.reading.submissions import Looked
from mimlab.serve.reading.thinning import kept_points
from mimlab.serve.reading.trials import LISTED, NOTHING_YET, probes_of
from mimlab.serve.reading.watching import Watch, driver_lives
from mimlab.storage.asked import WHOLE, Asked
from mimlab.storage.records import (
    LeaseRecord,
    MlflowLink,
    OwnerRecord,
    ProbeRecord,
    StatusRecord,
    SubmissionRecord,
    TrialRecord,
    TrialsRecord,
)
from mimlab.storage.store import Store

COUNTING_S = 0.25
"""That one look at the list may take to count device hours; the next looks count the rest."""
FEWEST_POINTS = 4


class Reading:
    """Reads submissions and trials of a storage; one instance for all requests of a server.

    Nothing here is kept beyond the process: it can be killed and started again at any time.
    """

    def __init__(
        self,
        store: Store,
        *,
        clock: Callable[[], float] = time.monotonic,
        mlflow_page: str | None = None,
    ) -> None:
        """`mlflow_page`: where browsers reach MLflow, if not where drivers do."""
        self.store = store
        self._mlflow = MlflowWatch(clock, mlflow_page)
        self._files = CachedFiles(store)
        self._journals = Journals(self._files)
        self._hours = Hours(self._files)
        self._watch = Watch(clock)
        self._queue = Queue(store)
        self._lock = threading.Lock()

    def submissions(self) -> list[SubmissionSummary]:
        """Every submission, newest first; one that cannot be read is left out."""
        with self._look():
            allowance = Allowance(COUNTING_S)
            queued = self._queued()
            found = [
                submissions_.summary_of(looked)
                for name in self._files.list("submissions")
                if (looked := self._looked(name, queued, allowance)) is not None
            ]
        return sorted(found, key=lambda s: (s.created, s.id), reverse=True)

    def unreadable(self) -> list[str]:
        """Submissions whose record cannot be read, and why."""
        with self._look():
            said: list[str] = []
            for name in self._files.list("submissions"):
                try:
                    self._files.record(f"submissions/{name}/submission.json", SubmissionRecord)
                    self._trials_of(name)
                except UserError as error:
                    said.append(str(error))
            return said

    def submission(self, submission_id: str) -> SubmissionDetail:
        """One submission with its trials. Raises UserError if there is none of that id."""
        with self._look():
            looked = self._existing(submission_id)
            ids = [trial.id for trial in looked.trials]
            self._files.expect([f"trials/{id_}/{name}" for id_ in ids for name in LISTED])
            shown = [self._shown(looked, at) for at in range(len(looked.trials))]
            axes = dict.fromkeys(path for trial in looked.trials for path in trial.point)
            path = f"submissions/{submission_id}"
            link = self._files.record(f"{path}/mlflow.json", MlflowLink)
            return SubmissionDetail(
                summary=submissions_.summary_of(looked),
                axes=list(axes),
                metrics=_metrics(looked.trials, [trial.scores for trial in shown]),
                trials=shown,
                baselines=self._baselines(path),
                study_text=self._files.texts([f"{path}/study.yaml"])[0],
                options=looked.record.options,
                mlflow_link=experiment_page(link, self._mlflow),
                mlflow_problem=self._mlflow.problem(link.tracking_uri) if link else "",
            )

    def trial(self, submission_id: str, trial_id: str) -> TrialDetail:
        """One trial of a submission. Raises UserError if that has no such trial."""
        with self._look():
            looked = self._existing(submission_id)
            ids = [trial.id for trial in looked.trials]
            if trial_id not in ids:
                raise UserError(f"submission {submission_id} has no trial {trial_id!r}")
            at = ids.index(trial_id)
            record, status = looked.trials[at], looked.statuses[at]
            return detail_of(
                self._files,
                submission_id,
                self._shown(looked, at),
                record,
                status,
                [trial for trial in looked.trials if trial.id != trial_id],
                self._lineage(record),
                self._mlflow,
            )

    def submission_of(self, trial_id: str) -> str:
        """The submission that runs a trial, else the latest that lists it. Raises UserError."""
        _check_name(trial_id)
        with self._look():
            listing = self._listing(trial_id)
            owner = self._files.record(f"trials/{trial_id}/owner.json", OwnerRecord)
            if owner is not None and owner.submission in listing:
                return owner.submission
            if not listing:
                raise UserError(f"{self.store.root}: no submission has a trial {trial_id!r}")
            return listing[-1]

    def metrics(self, trial_ids: Sequence[str]) -> list[str]:
        """Metric keys of curves that any of the trials has, the probes' last."""
        for trial_id in trial_ids:
            _check_name(trial_id)
        with self._look():
            logged = dict.fromkeys(
                key for trial_id in trial_ids for key in self._journals.metrics(trial_id)
            )
            probed = dict.fromkeys(
                key
                for trial_id in trial_ids
                for record in probes_of(self._files, trial_id)
                for key in record.metrics
            )
            return [*logged, *probed]

    def curves(self, trial_ids: Sequence[str], metrics: Sequence[str], points: int) -> list[Curve]:
        """Curves of at most `points` points each, spikes and ends included; those that a trial has.

        Raises UserError for fewer than 4 points.
        """
        if points < FEWEST_POINTS:
            raise UserError(f"points: {points} are too few for a curve; ask for 4 or more")
        for trial_id in trial_ids:
            _check_name(trial_id)
        with self._look():
            self._files.expect([f"trials/{trial_id}/journal" for trial_id in trial_ids])
            asked = [(trial_id, metric) for trial_id in trial_ids for metric in metrics]
            found = [self._curve(trial_id, metric, points) for trial_id, metric in asked]
        return [curve for curve in found if curve.points]

    def board(self, trial_id: str, step: int) -> bytes:
        """PNG of a trial's board. Raises UserError if there is none of that step."""
        _check_name(trial_id)
        try:
            return self.store.read(f"trials/{trial_id}/boards/{step:09d}.png")
        except (FileNotFoundError, NotADirectoryError) as error:
            raise UserError(f"trial {trial_id} has no board of step {step}") from error

    @contextlib.contextmanager
    def _look(self) -> Iterator[None]:
        """One at a time: what a look has listed holds until the next one."""
        with self._lock:
            self._files.look_again()
            yield

    def _curve(self, trial_id: str, metric: str, points: int) -> Curve:
        steps, values = self._journals.column(trial_id, metric)
        if not len(steps):
            records = probes_of(self._files, trial_id)
            found = [(r.step, r.metrics[metric]) for r in records if metric in r.metrics]
            steps = np.array([step for step, _ in found], dtype=np.int64)
            values = np.array([value for _, value in found], dtype=np.float64)
        kept = kept_points(values, points)
        return Curve(
            trial_id=trial_id,
            metric=metric,
            steps=steps[kept].tolist(),
            values=values[kept].tolist(),
            points=len(steps),
        )

    def _existing(self, submission_id: str) -> Looked:
        _check_name(submission_id)
        looked = self._looked(submission_id, self._queued(), None)
        if looked is None:
            raise UserError(f"{self.store.root}: there is no submission {submission_id!r}")
        return looked

    def _shown(self, looked: Looked, at: int) -> TrialSummary:
        """The trial at a place of its submission."""
        record = looked.trials[at]
        return trials_.summary_of(
            self._files,
            record,
            looked.statuses[at],
            looked.states[at],
            paused=record.id in looked.paused,
        )

    def _looked(
        self, name: str, queued: Mapping[str, Place], allowance: Allowance | None
    ) -> Looked | None:
        """None where there is no such submission, or none that can be read and a list goes on
        without it. `queued`: of all submissions; `allowance`: of the list, to count hours; None:
        count all."""
        try:
            return self._read(name, queued, allowance)
        except UserError:
            if allowance is None:
                raise
            return None

    def _read(
        self, name: str, queued: Mapping[str, Place], allowance: Allowance | None
    ) -> Looked | None:
        """The same. Raises UserError where something of it, or of a trial, cannot be read."""
        path = f"submissions/{name}"
        self._files.list(path)  # in a bucket the one request that tells what of it has changed
        record = self._files.record(f"{path}/submission.json", SubmissionRecord)
        if record is None:
            return None
        trials = self._trials_of(name)
        paths = [f"trials/{trial.id}/status.json" for trial in trials]
        found = self._files.records(paths, StatusRecord)
        paused = self._paused(name)
        statuses = [status or NOTHING_YET for status in found]
        alive = self._driver_alive(name)
        states: list[ShownState] = [
            trials_.shown_state(trial.id, status, self._driven(trial.id, name, alive), self._watch)
            for trial, status in zip(trials, statuses, strict=True)
        ]
        resolved = self._files.parsed(f"{path}/resolved.json", submissions_.resolved_of) or {}
        looked = Looked(
            record=record,
            resolved=resolved,
            trials=trials,
            statuses=statuses,
            states=states,
            paused=paused,
            driver_alive=alive,
            queued=queued.get(name),
            hours_spent=None,
        )
        return replace(looked, hours_spent=self._spent(name, looked, allowance))

    def _trials_of(self, name: str) -> list[TrialRecord]:
        found = self._files.record(f"submissions/{name}/trials.json", TrialsRecord)
        return list({trial.id: trial for trial in found.trials}.values()) if found else []

    def _paused(self, name: str) -> frozenset[str]:
        """Ids of the trials that wait until they are resumed themselves."""
        folder = f"submissions/{name}/asked"
        names = [each for each in self._files.list(folder) if each != f"{WHOLE}.json"]
        requests = self._files.records([f"{folder}/{each}" for each in names], Asked)
        return frozenset(
            each.removesuffix(".json")
            for each, request in zip(names, requests, strict=True)
            if request is not None and request.what == "pause"
        )

    def _queued(self) -> dict[str, Place]:
        """Where submissions stand in the queue, by their ids; a queue that cannot be read hides
        none of them."""
        try:
            entries = self._queue.entries()
        except UserError:
            return {}
        return {e.submission: e.state for e in entries if e.state in ("waiting", "started")}

    def _driver_alive(self, name: str) -> bool | None:
        folder = f"submissions/{name}/lease"
        names = self._files.list(folder)
        try:
            lease = self._files.record(f"{folder}/{names[-1]}", LeaseRecord) if names else None
        except UserError:
            return False  # another version's, which would renew it in its own way
        return driver_lives(lease, name, self._watch)

    def _driven(self, trial_id: str, name: str, alive: bool | None) -> Callable[[], bool | None]:
        """Asks for the driver of the submission that runs the trial, which may be another one."""

        def driven() -> bool | None:
            owner = self._files.record(f"trials/{trial_id}/owner.json", OwnerRecord)
            if owner is None or owner.submission == name:
                return alive
            return self._driver_alive(owner.submission)

        return driven

    def _spent(self, name: str, looked: Looked, allowance: Allowance | None) -> float | None:
        devices, total = looked.devices, 0.0
        for trial, status in zip(looked.trials, looked.statuses, strict=True):
            began, is_new = time.monotonic(), not self._hours.is_counted(name, trial.id, devices)
            if is_new and allowance is not None and allowance.left_s <= 0:
                return None
            total += self._hours.spent(name, trial, status, devices)
            if is_new and allowance is not None:
                allowance.left_s -= time.monotonic() - began
        return total

    def _baselines(self, path: str) -> dict[str, dict[str, float]]:
        names = self._files.list(f"{path}/baselines")
        records = self._files.records([f"{path}/baselines/{n}" for n in names], ProbeRecord)
        found: dict[str, dict[str, float]] = {}
        for record in records:
            if record is not None:
                prefix = f"baseline/{record.encoder_hash}/"
                scores = {
                    f"probe/{key.removeprefix(prefix)}": value
                    for key, value in record.metrics.items()
                    if key.startswith(prefix)
                }
                found.setdefault(record.encoder_hash, {}).update(scores)
        return found

    def _listing(self, trial_id: str) -> list[str]:
        """Submissions that list a trial, oldest first."""
        names = self._files.list("submissions")
        return [n for n in names if any(trial.id == trial_id for trial in self._trials_of(n))]

    def _lineage(self, record: TrialRecord) -> list[Relative]:
        everything = {
            trial.id: trial
            for name in self._files.list("submissions")
            for trial in self._trials_of(name)
        }
        children = [trial.id for trial in everything.values() if trial.parent == record.id]
        return [
            *(self._relative(each, "parent") for each in [record.parent] if each is not None),
            *(self._relative(each, "child") for each in children),
        ]

    def _relative(self, trial_id: str, relation: Literal["parent", "child"]) -> Relative:
        return Relative(id=trial_id, relation=relation, submissions=self._listing(trial_id))


def _metrics(trials: Sequence[TrialRecord], scores: Sequence[dict[str, float]]) -> list[str]:
    probes = [probe for trial in trials for probe in trial.resolved.get("probes", ())]
    asked = [metric_key(label_of(probe["name"], probe.get("fraction"))) for probe in probes]
    found = {key for of_trial in scores for key in of_trial}
    return list(dict.fromkeys([*asked, *sorted(found)]))


def _check_name(text: str) -> None:
    """Raises UserError unless a text can be the name of a folder here, and of none elsewhere."""
    if not text or text.startswith(".") or "/" in text or "\\" in text or "\0" in text:
        raise UserError(f"{text!r} is no id of a submission or a trial")
