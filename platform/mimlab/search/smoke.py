"""Two steps of each distinct shape through everything that a run goes through, then no trace.

What is run is a submission like any other, with the study's own driver, Ray, data, checkpoints,
probes and MLflow, in a storage of its own below the study's. There it can neither be taken for a
submission of the study nor for one of its trials.
"""

from __future__ import annotations

import contextlib
import signal
import uuid
from collections.abc import Iterator, Sequence

from pydantic import BaseModel

from mimlab.errors import UserError
from mimlab.search.driver import Driver
from mimlab.search.shapes import shapes
from mimlab.search.shortened import shortened
from mimlab.search.submission import PlannedStudy, create, plan_study, storage_of
from mimlab.spec.load import LoadedStudy
from mimlab.spec.resolve import TRACKING_FILE
from mimlab.storage.folders import SubmissionFolder, TrialFolder
from mimlab.storage.journal import read_points
from mimlab.storage.records import TrialRecord
from mimlab.storage.store import Store
from mimlab.track.settings import prepare_client
from mimlab.track.uri import local_files


class SmokeTrial(BaseModel):
    """How one shape got on."""

    point: dict[str, str | int | float | bool | None]
    """Of the trial that was run."""
    trials: int
    """That have this shape."""
    state: str
    first_step_s: float | None
    """From the workers' first wait for data to the end of the first step."""
    loss: float | None
    """Of the last step."""
    probes: list[str]
    """Those that gave a score."""
    problem: str
    """Why it did not get to its end; empty if it did."""


class Smoke:
    """A smoke run under way: its submission, and what is known of its trials."""

    def __init__(
        self, submission: SubmissionFolder, planned: PlannedStudy, sizes: Sequence[int]
    ) -> None:
        """`sizes`: how many trials of the study have the shape of each of `planned`."""
        self.driver = Driver(submission, planned)
        self._planned = planned
        self._sizes = sizes

    def trials(self) -> list[SmokeTrial]:
        """Each shape as it stands."""
        pairs = zip(self._planned.trials, self._sizes, strict=True)
        return [self._trial(record, size) for record, size in pairs]

    def problem(self) -> str:
        """What went wrong first, in a line; empty if all is well."""
        driver = self.driver
        if driver.error is not None:
            return f"the driver failed: {driver.error}"
        for trial in self.trials():
            if trial.problem:
                point = ", ".join(f"{path}={value}" for path, value in trial.point.items())
                return f"{point}: {trial.problem}" if point else trial.problem
        if driver.baseline_error:
            return f"the baselines could not be measured: {driver.baseline_error}"
        drain = driver.tracking.drain
        if drain is not None and drain.last_error:
            return f"MLflow was not reached: {drain.last_error}"
        return ""

    def _trial(self, record: TrialRecord, size: int) -> SmokeTrial:
        trial = TrialFolder(self.driver.submission.store, record.id)
        status = trial.status()
        points = read_points(trial.store, trial.file("journal"))
        probes = trial.probes()
        errors = [f"probe {p.probe}: {p.error}" for p in probes if p.error]
        if status.state != "finished":
            errors.insert(0, f"{status.state}: {status.reason}" if status.reason else status.state)
        batch_size = record.resolved["train"]["batch_size"]
        return SmokeTrial(
            point=record.point,
            trials=size,
            state=status.state,
            first_step_s=batch_size / points[0].metrics["train/images_per_s"] if points else None,
            loss=points[-1].metrics["train/loss"] if points else None,
            probes=[probe.probe for probe in probes if not probe.error],
            problem="; ".join(errors),
        )


@contextlib.contextmanager
def smoke(loaded: LoadedStudy) -> Iterator[Smoke]:
    """A smoke run of a study, ready to be driven; whatever it wrote is removed at the end.

    To be entered in the main thread, and before `Driver.opened`. Raises UserError.
    """
    planned = plan_study(loaded)
    outer, name = storage_of(planned.study), f".smoke-{uuid.uuid4().hex[:8]}"
    given = (loaded.root.get("tracking") or {}).get("uri")
    tracking = given or f"sqlite:///{outer.root}/{name}/{TRACKING_FILE}"
    short = shortened(planned, storage=f"{outer.root}/{name}", tracking=tracking)
    sizes = [len(group) for group in shapes(planned)]
    absent = [path for path in local_files(given or "") if not path.exists()]
    try:
        submission = _created(short, loaded)
        try:
            yield Smoke(submission, short, sizes)
        finally:
            with _uninterrupted():
                _remove_from_mlflow(submission, given)
    finally:
        with _uninterrupted():
            for path in absent:
                Store(path.parent).remove(path.name)
            outer.remove(name)


def _created(short: PlannedStudy, loaded: LoadedStudy) -> SubmissionFolder:
    try:
        return create(storage_of(short.study), short, loaded)
    except OSError as error:
        raise UserError(f"storage: {error}; name a folder that may be written to") from error


def _remove_from_mlflow(submission: SubmissionFolder, tracking: str | None) -> None:
    """Where it is not the smoke run's own. Raises UserError if MLflow keeps the runs."""
    if tracking is None:
        return
    prepare_client()
    from mimlab.track.removal import remove_runs  # imports mlflow: seconds

    try:
        remove_runs(submission, tracking)
    except Exception as error:
        raise UserError(
            f"tracking.uri: {tracking} keeps the smoke run ({error}); delete the experiment "
            f"{submission.record().study!r} there"
        ) from error


@contextlib.contextmanager
def _uninterrupted() -> Iterator[None]:
    """Ctrl-C and SIGTERM wait for nothing here: what is left to do takes a moment."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, signal.SIG_IGN) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
