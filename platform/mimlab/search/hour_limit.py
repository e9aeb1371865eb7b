"""How many device hours a submission may spend; when they are spent, its trials save and stop."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from mimlab.compare.progress import IMAGES, WORKERS, passed_s
from mimlab.errors import UserError
from mimlab.repeated import repeated
from mimlab.search.hours_text import hours_text
from mimlab.spec.study import Resources
from mimlab.storage.folders import SubmissionFolder, TrialFolder
from mimlab.storage.journal import read_points
from mimlab.storage.lease import LeaseLost
from mimlab.storage.records import DONE, OwnerRecord

POLL_S = 2.0
"""Between two looks at what is spent; a trial's journal grows every few seconds."""


@dataclass(frozen=True)
class Devices:
    """What a trial holds while it trains, and how much of it all trials may spend."""

    unit: str
    """`GPU-hours`, or `CPU-hours` where trials train on the CPU."""
    per_worker: float
    workers: int
    """Of one trial; the fewest, where their number varies."""
    field: str
    """Of the study, that limits them."""
    limit_hours: float | None
    """null: no limit."""

    @property
    def count(self) -> float:
        """Devices of one trial, over all its workers."""
        return self.workers * self.per_worker


def devices_of(resources: Resources) -> Devices:
    """What a trial's device hours are counted in."""
    workers = resources.fewest_workers
    if gpus := resources.gpus_per_worker:
        return Devices(
            "GPU-hours", gpus, workers, "resources.max_gpu_hours", resources.max_gpu_hours
        )
    cpus = resources.cpus_per_worker
    return Devices("CPU-hours", cpus, workers, "resources.max_cpu_hours", resources.max_cpu_hours)


class HourLimit:
    """Counts what the trials of a submission have spent, from their folders, over all resumes."""

    def __init__(self, submission: SubmissionFolder, resources: Resources) -> None:
        self._submission = submission
        self._devices = devices_of(resources)
        self._held: dict[str, _HeldTime] = {}

    def spent(self) -> float:
        """Device hours so far. Raises OSError, and UserError for a folder that cannot be read."""
        for trial in self._submission.trials():  # an adaptive search adds to them
            if trial.id not in self._held:
                held = _HeldTime(trial, self._submission.id, float(self._devices.workers))
                self._held[trial.id] = held
        seconds = sum(held.seconds() for held in list(self._held.values()))
        return seconds * self._devices.per_worker / 3600

    def refuse_spent(self) -> None:
        """Raises UserError, with the command that goes on, if nothing is left to spend."""
        reason = self._reached()
        if reason:
            raise UserError(f"submission {self._submission.id}: {reason}; {self.remedy()}")

    @contextlib.contextmanager
    def watched(self, on_reached: Callable[[str], None]) -> Iterator[None]:
        """Meanwhile, call `on_reached(reason)` in another thread, once, if the limit is reached."""
        if self._devices.limit_hours is None:
            yield
            return

        def look() -> bool:
            try:
                reason = self._reached()
                if reason:
                    on_reached(reason)
            except (OSError, UserError):
                return False  # the storage may be back at the next look
            except LeaseLost:
                return True
            return bool(reason)

        with repeated(look, every_s=POLL_S, name="hour-limit"):
            yield

    def remedy(self) -> str:
        """What to raise, and the command that then goes on."""
        limit, record = self._devices, self._submission.record()
        assert limit.limit_hours is not None
        options = _without(record.options, limit.field)
        # Twice what is spent, or what was meant to be: a trial saves at its next step, not before.
        raised = 2 * max(limit.limit_hours, self.spent())
        change = ["--set", f"{limit.field}={raised:.2g}"]
        command = shlex.join(["mimlab", "run", record.study_file, *options, *change])
        return f"raise {limit.field} and go on with:  {command}"

    def _reached(self) -> str:
        """That the limit is reached, in words; empty if it is not."""
        limit = self._devices
        if limit.limit_hours is None or (spent := self.spent()) < limit.limit_hours:
            return ""
        return (
            f"{hours_text(spent)} of {limit.limit_hours:,g} {limit.unit} ({limit.field}) are spent"
        )


class _HeldTime:
    """How long a trial has held its workers: its training, and the probes that follow it.

    Probes during the training run beside it. A trial that another submission ran is that one's.
    """

    def __init__(self, trial: TrialFolder, submission_id: str, workers: float) -> None:
        """`workers`: how many, where the journal does not say."""
        self._trial = trial
        self._submission_id = submission_id
        self._workers = workers
        self._seq = 0
        self._images = trial.record().first_images
        self._trained_s = 0.0
        self._final: float | None = None
        """Seconds of a trial that is done."""

    def seconds(self) -> float:
        """Seconds × workers. Reads what the journal has gained since the last call."""
        if self._final is not None:
            return self._final
        trial, status = self._trial, self._trial.status()
        owner = trial.store.read_record(trial.file("owner.json"), OwnerRecord)
        if owner is None or owner.submission != self._submission_id:
            return 0.0
        self._read_journal()
        last = status.total_steps
        probed_s = sum((r.seconds for r in trial.probes() if r.step == last), 0.0) * self._workers
        if status.state in DONE:
            self._final = self._trained_s + probed_s
        return self._trained_s + probed_s

    def _read_journal(self) -> None:
        trial = self._trial
        for point in read_points(trial.store, trial.file("journal"), after=self._seq):
            passed = passed_s(point, self._images)
            self._seq = point.seq
            if passed is not None:
                self._workers = point.metrics.get(WORKERS, self._workers)
                self._trained_s += passed * self._workers
                self._images = point.metrics[IMAGES]


def _without(options: list[str], field: str) -> list[str]:
    """`--set` pairs and others, but those that set `field`."""
    pairs = [options[at : at + 2] for at in range(0, len(options), 2)]
    return [word for pair in pairs if not pair[1].startswith(f"{field}=") for word in pair]
