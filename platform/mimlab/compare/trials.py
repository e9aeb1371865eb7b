"""What the folders say of each trial of a submission: record, curves, probes, boards, devices."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from mimlab.compare.progress import Progress, mean_workers, progress_of
from mimlab.errors import UserError
from mimlab.probe.labels import metric_key
from mimlab.storage.folders import SubmissionFolder, TrialFolder
from mimlab.storage.journal import read_points
from mimlab.storage.records import (
    JournalPoint,
    OwnerRecord,
    ProbeRecord,
    StatusRecord,
    TrialRecord,
)


@dataclass(frozen=True)
class Devices:
    """What a trial holds while it trains."""

    kind: str
    """`GPU`, or `CPU` where it has none."""
    count: float
    """Over all its workers: their mean, where the number of them varied."""


@dataclass(frozen=True)
class TrialResult:
    """One trial as far as it has come."""

    folder: TrialFolder
    record: TrialRecord
    status: StatusRecord
    points: list[JournalPoint]
    """The journal, in order."""
    probes: list[ProbeRecord]
    """By step; failed ones have no metrics."""
    devices: Devices | None
    """None where the submission that ran it does not say."""

    @property
    def id(self) -> str:
        return self.record.id

    @property
    def seed(self) -> int:
        return self.record.seed

    @property
    def finished(self) -> bool:
        return self.status.state == "finished"

    @property
    def masking(self) -> dict[str, Any]:
        return self.record.resolved["masking"]

    @property
    def budget(self) -> tuple[str, int | float] | None:
        """The budget that the study gave it: which kind, and how much of it."""
        train = self.record.resolved.get("train", {})
        asked = self.record.budget_asked or train.get("budget", {})
        return next(((kind, value) for kind, value in asked.items() if value is not None), None)

    @cached_property
    def progress(self) -> Progress:
        """Images, visible tokens and training time at every logged step."""
        return progress_of(self.points, self.record.first_images)

    @cached_property
    def scores(self) -> dict[str, float]:
        """The top-1 of each probe at its last step; none where that one failed."""
        return latest(self.probes)

    def last(self, key: str) -> float | None:
        """The last value of a training metric."""
        found = (point.metrics[key] for point in reversed(self.points) if key in point.metrics)
        return next(found, None)

    def board(self) -> bytes | None:
        """PNG of the newest board."""
        names = self.folder.store.list(self.folder.file("boards"))
        return self.folder.store.read(self.folder.file(f"boards/{names[-1]}")) if names else None


def read_trials(submission: SubmissionFolder) -> list[TrialResult]:
    """The trials of a submission, each once, in the order of its study. Raises UserError."""
    submission.record()  # a damaged submission is named before a trial that it should list
    records = {record.id: record for record in submission.trial_records()}
    return [_read(submission, record) for record in records.values()]


def latest(records: Sequence[ProbeRecord]) -> dict[str, float]:
    """What ranks trials by each probe, at its last step; none where that one failed."""
    last = {record.probe: record for record in sorted(records, key=lambda r: r.step)}
    keys = {metric_key(label): record for label, record in last.items()}
    return {key: record.metrics[key] for key, record in keys.items() if key in record.metrics}


def _read(submission: SubmissionFolder, record: TrialRecord) -> TrialResult:
    trial = TrialFolder(submission.store, record.id)
    points = read_points(trial.store, trial.file("journal"))
    return TrialResult(
        folder=trial,
        record=record,
        status=trial.status(),
        points=points,
        probes=trial.probes(),
        devices=_devices(submission, trial, points, record.first_images),
    )


def _devices(
    submission: SubmissionFolder,
    trial: TrialFolder,
    points: Sequence[JournalPoint],
    first_images: float,
) -> Devices | None:
    """By the resources of the submission that ran it: a reused trial has another one's."""
    owner = trial.store.read_record(trial.file("owner.json"), OwnerRecord)
    folder = SubmissionFolder(submission.store, owner.submission) if owner else submission
    path = folder.file("resolved.json")
    try:
        resources = json.loads(folder.store.read(path))["resources"]
        gpus, cpus = resources["gpus_per_worker"], resources["cpus_per_worker"]
        asked = resources["workers"]
        fewest = asked["min"] if isinstance(asked, dict) else asked
        workers = mean_workers(points, float(fewest), first_images)
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{folder.store.place(path)}: its `resources` cannot be read; restore the file"
        ) from error
    return Devices("GPU", workers * gpus) if gpus else Devices("CPU", workers * cpus)
