"""What a driver makes of users' requests, and the queue that takes trials back."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ray.tune.search import Searcher

from mimlab.search.requests import Requests
from mimlab.search.trial_queue import TrialQueue
from mimlab.storage import control
from mimlab.storage.asked import ask, asked_of
from mimlab.storage.folders import SubmissionFolder, TrialFolder
from mimlab.storage.records import StatusRecord, TrialRecord, TrialState


class Carried:
    """A driver's end of the requests."""

    def __init__(self, submission: SubmissionFolder) -> None:
        self.submission = submission
        self.stopped: list[str] = []
        self.stopping = threading.Event()
        self.requests = Requests(submission, self.stopped.append, self._ready, self.stopping)

    def _ready(self, trial: TrialFolder) -> bool:
        control.clear(trial)
        trial.write_status(StatusRecord(state="pending"))
        return True

    def stands(self, trial: TrialFolder, state: TrialState) -> None:
        trial.write_status(StatusRecord(state=state))


@pytest.fixture
def carried(tmp_path: Path, create_tiny: Callable[..., Any]) -> Carried:
    made = create_tiny(tmp_path, "sweep={axes: {masking.ratio: [0.5, 0.75]}}")
    return Carried(made.submission)


def test_a_stop_of_the_whole_is_told_once_and_stays(carried: Carried) -> None:
    ask(carried.submission, "stop", "ada")
    assert carried.requests.look()
    assert carried.stopped == ["stopped by ada"] == [carried.requests.ended_by]
    assert asked_of(carried.submission)  # a driver that would be started again finds it


def test_a_stop_of_one_trial_reaches_its_workers(carried: Carried) -> None:
    trial, other = carried.submission.trials()
    carried.stands(trial, "running")
    ask(carried.submission, "stop", "ada", trial.id)
    assert not carried.requests.look()
    request = control.stop_request(trial)
    assert request is not None and (request.state, request.reason) == ("stopped", "stopped by ada")
    assert control.stop_request(other) is None
    assert asked_of(carried.submission) == {} and carried.stopped == []


def test_a_pause_is_asked_once_and_a_resume_puts_the_trial_back(carried: Carried) -> None:
    trial = carried.submission.trials()[0]
    carried.stands(trial, "running")
    ask(carried.submission, "pause", "ada", trial.id)
    carried.requests.look()
    assert control.stop_request(trial) is not None
    ask(carried.submission, "resume", "ada", trial.id)
    carried.requests.look()  # it is still saving
    assert carried.requests.back() == [] and trial.id in asked_of(carried.submission)
    carried.stands(trial, "stopped")
    carried.requests.look()
    assert carried.requests.back() == [trial.id] and carried.requests.back() == []
    assert trial.status().state == "pending" and control.stop_request(trial) is None
    assert asked_of(carried.submission) == {}
    ask(carried.submission, "pause", "bob", trial.id)
    carried.requests.look()
    assert control.stop_request(trial) is not None


def test_a_finished_trial_is_left_alone(carried: Carried) -> None:
    trial = carried.submission.trials()[0]
    carried.stands(trial, "finished")
    ask(carried.submission, "stop", "ada", trial.id)
    carried.requests.look()
    assert control.stop_request(trial) is None and trial.status().state == "finished"


def test_a_resume_of_a_trial_that_runs_is_forgotten(carried: Carried) -> None:
    trial = carried.submission.trials()[0]
    carried.stands(trial, "running")
    ask(carried.submission, "resume", "ada", trial.id)
    carried.requests.look()
    assert carried.requests.back() == [] and asked_of(carried.submission) == {}


def test_a_resume_that_comes_when_all_have_ended_is_left_to_the_next(carried: Carried) -> None:
    """As while a driver waits for MLflow: it would swallow what it cannot start."""
    trial = carried.submission.trials()[0]
    carried.stands(trial, "failed")
    with carried.requests.watched_at_the_end():
        ask(carried.submission, "resume", "ada", trial.id)
        carried.requests.look()
    assert carried.requests.back() == [] and trial.status().state == "failed"
    assert trial.id in asked_of(carried.submission)


def test_a_resume_that_comes_as_the_driver_stops_is_left_to_the_next(carried: Carried) -> None:
    trial = carried.submission.trials()[0]
    carried.stands(trial, "stopped")
    carried.stopping.set()
    ask(carried.submission, "resume", "ada", trial.id)
    assert not carried.requests.look()
    assert carried.requests.back() == [] and trial.id in asked_of(carried.submission)
    carried.stopping.clear()
    carried.requests.look()
    assert carried.requests.back() == [trial.id] and asked_of(carried.submission) == {}


def _record(trial_id: str) -> TrialRecord:
    return TrialRecord(id=trial_id, study="s", seed=0, point={}, resolved={}, identity={})


def _given(queue: TrialQueue, tune_id: str) -> Any:
    given = queue.suggest(tune_id)
    return given["trial"]["trial_id"] if isinstance(given, dict) else given


def always(running: int, waiting: int) -> bool:
    return True


def test_the_queue_takes_trials_back_while_others_run() -> None:
    back: list[TrialRecord] = []

    def taken() -> list[TrialRecord]:
        told, back[:] = list(back), []
        return told

    queue = TrialQueue([_record("a"), _record("b")], more=list, back=taken, has_place=always)
    assert [_given(queue, "1"), _given(queue, "2")] == ["a", "b"]
    assert _given(queue, "3") is None  # nothing now, but one may come back
    queue.on_trial_complete("1")
    back.append(_record("a"))
    assert _given(queue, "3") == "a"
    queue.on_trial_complete("2")
    queue.on_trial_complete("3")
    assert _given(queue, "4") == Searcher.FINISHED


def test_the_queue_asks_for_more_until_there_are_none() -> None:
    batches = [[_record("c")], []]
    queue = TrialQueue([], more=lambda: batches.pop(0), back=list, has_place=always)
    assert _given(queue, "1") == "c"
    assert _given(queue, "2") is None
    assert _given(queue, "2") is None and batches == []  # nor is it asked again
    queue.on_trial_complete("1")
    assert _given(queue, "2") == Searcher.FINISHED


def test_the_queue_lets_trials_wait_for_a_place_and_ends_where_none_comes() -> None:
    places: list[bool | None] = [False, True, False, None]
    asked: list[tuple[int, int]] = []

    def has_place(running: int, waiting: int) -> bool | None:
        asked.append((running, waiting))
        return places.pop(0)

    queue = TrialQueue([_record("a"), _record("b")], more=list, back=list, has_place=has_place)
    assert [_given(queue, "1"), _given(queue, "1")] == [None, "a"]
    assert _given(queue, "2") is None
    assert _given(queue, "2") == Searcher.FINISHED
    assert asked == [(0, 2), (0, 2), (1, 1), (1, 1)]
