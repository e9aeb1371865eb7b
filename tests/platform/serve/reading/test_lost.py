"""A trial that is recorded as running counts as lost once nobody runs it."""

from __future__ import annotations

import os

import pytest

from mimlab.serve.reading import Reading
from mimlab.serve.reading.watching import STALE_S
from mimlab.storage.lease import EXPIRE_S
from mimlab.storage.machine import machine, process_born
from mimlab.storage.records import LeaseRecord, TrialState


class Clock:
    """Goes on when told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def running(storage, clock: Clock):
    """Two trials, one running and one waiting, whose driver is on another machine."""
    trials = [storage.trial(seed=0), storage.trial(seed=1)]
    submission = storage.submission(trials=trials)
    storage.lease(submission)
    storage.status(trials[0], "running", 10)
    return submission, trials[0], Reading(storage.store, clock=clock)


def test_a_beating_heart_and_a_renewed_lease_are_a_running_trial(storage, clock, running) -> None:
    submission, trial, reading = running
    for beat in range(1, 20):
        storage.lease(submission, counter=beat)
        storage.status(trial, "running", 10 + beat, heartbeat=beat)
        shown = reading.submission(submission.id)
        assert shown.trials[0].state == "running"
        assert shown.summary.state == "running"
        clock.now += EXPIRE_S / 2


def test_silence_means_nothing_before_it_was_watched(running) -> None:
    submission, _, reading = running
    summary = reading.submission(submission.id).summary
    assert summary.driver_alive is None
    assert summary.trials == {"running": 1, "pending": 1}


def test_a_driver_that_stays_silent_has_lost_its_trials(clock, running) -> None:
    _, _, reading = running
    reading.submissions()
    clock.now += EXPIRE_S
    (summary,) = reading.submissions()
    assert summary.driver_alive is False
    assert summary.state == "lost"
    assert summary.trials == {"lost": 1, "pending": 1}
    assert any("lost" in words for words in summary.health)


def test_a_heart_that_stands_still_is_lost_though_the_driver_lives(storage, clock, running) -> None:
    submission, trial, reading = running
    for counter in range(10):
        storage.lease(submission, counter=counter)
        shown = reading.trial(submission.id, trial.id).summary.state
        assert shown == ("lost" if clock.now >= STALE_S else "running")
        clock.now += EXPIRE_S / 2
    storage.status(trial, "running", 11, heartbeat=2)
    assert reading.trial(submission.id, trial.id).summary.state == "running"


def test_a_trial_that_is_probed_has_no_heartbeat_to_miss(storage, clock, running) -> None:
    submission, trial, reading = running
    storage.status(trial, "probing", 100)
    for counter in range(10):
        storage.lease(submission, counter=counter)
        assert reading.submission(submission.id).trials[0].state == "probing"
        clock.now += EXPIRE_S / 2


@pytest.mark.parametrize("state", ["running", "probing"])
def test_a_released_lease_loses_its_trials_at_once(storage, running, state: TrialState) -> None:
    submission, trial, reading = running
    storage.status(trial, state, 10)
    storage.lease(submission, released=True)
    assert reading.submission(submission.id).trials[0].state == "lost"


@pytest.mark.parametrize("alive", [True, False])
def test_a_driver_on_this_machine_is_known_by_its_process(storage, running, alive: bool) -> None:
    submission, _, reading = running
    born = process_born(os.getpid())
    assert born is not None
    record = LeaseRecord(
        fence=2,
        host="here",
        machine=machine(),
        pid=os.getpid(),
        process_born=born if alive else born + 1,
        counter=0,
    )
    storage.store.write_record(submission.file("lease/000002.json"), record)
    summary = reading.submission(submission.id).summary
    assert summary.driver_alive is alive
    assert summary.state == ("running" if alive else "lost")
