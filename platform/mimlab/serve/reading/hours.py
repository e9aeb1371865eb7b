"""The device hours that a submission has spent, as `mimlab.search.hour_limit` counts them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from mimlab.compare.progress import IMAGES, SPEED, WORKERS
from mimlab.serve.reading.files import CachedFiles
from mimlab.serve.reading.journals import points_of
from mimlab.serve.reading.listings import Stamp
from mimlab.storage.lease import DRIVEN
from mimlab.storage.records import OwnerRecord, ProbeRecord, StatusRecord, TrialRecord


@dataclass(frozen=True)
class Devices:
    """What the trials of a submission hold, by its resolved study."""

    unit: str
    per_worker: float
    workers: float
    """Of one trial; the fewest, where their number varies."""
    limit_hours: float | None

    @classmethod
    def of(cls, resources: dict[str, Any]) -> Devices:
        """Of the section `resources` in JSON form."""
        asked = resources.get("workers", 1)
        workers = float(asked["min"] if isinstance(asked, dict) else asked)
        if gpus := resources.get("gpus_per_worker"):
            return cls("GPU-hours", gpus, workers, resources.get("max_gpu_hours"))
        cpus = resources.get("cpus_per_worker", 1)
        return cls("CPU-hours", cpus, workers, resources.get("max_cpu_hours"))


@dataclass
class Allowance:
    """How long one look may count trials that were never counted before."""

    left_s: float


@dataclass
class _Trained:
    """What was counted of a trial's journal."""

    first: Stamp | None
    """Of the first segment: another one's, where the trial was removed and run again."""
    segments: int
    images: float
    workers: float
    seconds: float


class Hours:
    """Counts what is new in the journals since the last time."""

    def __init__(self, files: CachedFiles) -> None:
        self._files = files
        self._trained: dict[tuple[str, float], _Trained] = {}
        self._spent: dict[tuple[str, str, Devices], tuple[StatusRecord, float]] = {}

    def is_counted(self, submission_id: str, trial_id: str, devices: Devices) -> bool:
        """Whether a trial was counted before, so that little is to be read."""
        return (submission_id, trial_id, devices) in self._spent

    def spent(
        self, submission_id: str, trial: TrialRecord, status: StatusRecord, devices: Devices
    ) -> float:
        """Device hours of a trial; none of one that another submission ran."""
        key = submission_id, trial.id, devices
        before, hours = self._spent.get(key, (None, 0.0))
        # What nobody runs spends nothing before its status is another one.
        if status != before or status.state in DRIVEN:
            hours = self._counted(submission_id, trial, status, devices)
            self._spent[key] = status, hours
        return hours

    def _counted(
        self, submission_id: str, trial: TrialRecord, status: StatusRecord, devices: Devices
    ) -> float:
        path = f"trials/{trial.id}"
        owner = self._files.record(f"{path}/owner.json", OwnerRecord)
        if owner is None or owner.submission != submission_id:
            return 0.0
        trained_s = self._trained_s(trial, devices)
        # Probes of the last step keep the workers waiting; the others run beside the training.
        ending = f"-{status.total_steps:09d}.json"
        names = [name for name in self._files.list(f"{path}/probes") if name.endswith(ending)]
        found = self._files.records([f"{path}/probes/{name}" for name in names], ProbeRecord)
        probed_s = sum(record.seconds for record in found if record) * devices.workers
        return (trained_s + probed_s) * devices.per_worker / 3600

    def _trained_s(self, trial: TrialRecord, devices: Devices) -> float:
        """Seconds × workers."""
        folder = f"trials/{trial.id}/journal"
        names = self._files.list(folder)
        key = trial.id, devices.workers
        first = self._files.stamp(f"{folder}/{names[0]}") if names else None
        before = self._trained.get(key)
        if before is not None and before.segments <= len(names) and before.first == first:
            known = replace(before)  # whole or not at all: a segment may not be readable
        else:
            known = _Trained(first, 0, trial.first_images, devices.workers, 0.0)
        for name in names[known.segments :]:
            for _, metrics in points_of(self._files, f"{folder}/{name}"):
                images, rate = metrics.get(IMAGES) or 0.0, metrics.get(SPEED) or 0.0
                if images > 0 and rate > 0:
                    known.workers = metrics.get(WORKERS, known.workers)
                    known.seconds += max(0.0, images - known.images) / rate * known.workers
                    known.images = images
        known.segments = len(names)
        self._trained[key] = known
        return known.seconds
