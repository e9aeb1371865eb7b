"""Where submissions and trials stand, by their folders alone."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Literal

from mimlab.actions.launch import Launcher
from mimlab.actions.named import target_of
from mimlab.compare.trials import latest
from mimlab.errors import UserError
from mimlab.storage import lease
from mimlab.storage.asked import asked_of_whole
from mimlab.storage.folders import SubmissionFolder, TrialFolder, submissions
from mimlab.storage.ownership import owner_of
from mimlab.storage.records import LeaseRecord, Record, StatusRecord, TrialRecord, TrialState
from mimlab.storage.store import Store
from mimlab.track.labels import run_name

_TAIL = 20
"""Lines of a log that say why a study was refused."""

_Drivers = Callable[[str], LeaseRecord | None]
"""Who drives a submission, by its id."""


class TrialStanding(Record):
    """One trial."""

    id: str
    label: str
    state: TrialState | Literal["lost"]
    """`lost`: the record says that it runs, and no driver lives that would run it."""
    reason: str
    step: int
    total_steps: int
    epoch: float
    images_per_s: float
    """0 unless it runs."""
    scores: dict[str, float]
    parent: str | None
    parent_step: int | None


class SubmissionStanding(Record):
    """One submission."""

    id: str
    study: str
    user: str
    created: str
    driver: str
    """`PROCESS on HOST` that runs it; empty: nobody does."""
    asked: str
    """`stopped by ada`, where that is under way or done; empty: nothing was."""
    job: str
    """State of what was launched; empty where nothing is known of it."""
    trials: list[TrialStanding]
    said: str = ""
    """The end of the job's log, where its driver has written nothing yet."""


def standings(store: Store) -> list[SubmissionStanding]:
    """Every submission, oldest first; a driver of another machine counts as one while it renews."""
    drivers = _drivers(store)
    return [_standing(folder, drivers) for folder in submissions(store)]


def standing(store: Store, name: str, launcher: Launcher | None = None) -> SubmissionStanding:
    """A submission, a study's latest, or the submission of a trial, of which it has that one alone.

    `launcher`: what may know of one whose driver has written nothing yet. Raises UserError.
    """
    try:
        folder, trial = target_of(store, name)
    except UserError:
        state = None if launcher is None else launcher.state(name)
        if launcher is None or state is None:
            raise
        return _launched(name, state, launcher.log_tail(name, _TAIL))
    wanted = None if trial is None else trial.id
    return _standing(folder, _drivers(store), launcher, wanted)


def _drivers(store: Store) -> _Drivers:
    """Asks once of each: that one of another machine is dead takes seconds to see."""
    return functools.cache(lambda name: lease.driver_of(SubmissionFolder(store, name)))


def _standing(
    folder: SubmissionFolder,
    drivers: _Drivers,
    launcher: Launcher | None = None,
    wanted: str | None = None,
) -> SubmissionStanding:
    """`wanted`: of its trials that one alone."""
    record, driver = folder.record(), drivers(folder.id)
    asked = asked_of_whole(folder)
    return SubmissionStanding(
        id=folder.id,
        study=record.study,
        user=record.user,
        created=record.created,
        driver="" if driver is None else f"process {driver.pid} on {driver.host}",
        asked="" if asked is None else asked.reason,
        job="" if launcher is None else launcher.state(folder.id) or "",
        trials=[
            _trial(folder, each, drivers)
            for each in folder.trial_records()
            if wanted is None or each.id == wanted
        ],
    )


def _trial(folder: SubmissionFolder, record: TrialRecord, drivers: _Drivers) -> TrialStanding:
    trial = TrialFolder(folder.store, record.id)
    status = trial.status()
    lost = _is_lost(folder, trial, status, drivers)
    return TrialStanding(
        id=record.id,
        label=run_name(record.point, record.seed),
        state="lost" if lost else status.state,
        reason=status.reason,
        step=status.step,
        total_steps=status.total_steps,
        epoch=status.epoch,
        images_per_s=status.images_per_s if status.state == "running" and not lost else 0.0,
        scores=latest(trial.probes()),
        parent=record.parent,
        parent_step=record.parent_step,
    )


def _is_lost(
    folder: SubmissionFolder, trial: TrialFolder, status: StatusRecord, drivers: _Drivers
) -> bool:
    """Whether a trial is recorded as running while nobody runs it: equal trials of several
    submissions are one, which the driver of any of them may run."""
    return status.state in lease.DRIVEN and drivers(owner_of(trial) or folder.id) is None


def _launched(submission_id: str, state: str, said: str) -> SubmissionStanding:
    return SubmissionStanding(
        id=submission_id,
        study="",
        user="",
        created="",
        driver="",
        asked="",
        job=state,
        trials=[],
        said=said,
    )
