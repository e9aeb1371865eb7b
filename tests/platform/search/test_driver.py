"""A driver that is asked to stop, that decides and that begins, while its storage fails."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mimlab.search.driver import Driver, Options
from mimlab.search.submission import reopen
from mimlab.storage import control, lease
from mimlab.storage.files import LocalFiles
from mimlab.storage.folders import SubmissionFolder
from mimlab.storage.holding import held
from mimlab.storage.records import StatusRecord

TWO = "sweep={axes: {masking.ratio: [0.5, 0.75]}}"


@pytest.fixture
def away_once(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """The next listing of a folder fails as one of a network file system that is away."""
    monkeypatch.setattr("mimlab.storage.patience.FIRST_PAUSE_S", 0.01)
    listing, faults = LocalFiles.list, list[int]()

    def fails(files: LocalFiles, folder: str) -> list[str]:
        if faults:
            raise OSError(faults.pop(), "away")
        return listing(files, folder)

    monkeypatch.setattr(LocalFiles, "list", fails)
    return lambda: faults.append(errno.ESTALE)


@pytest.fixture
def submission(tmp_path: Path, create_tiny: Callable[..., Any]) -> SubmissionFolder:
    return create_tiny(tmp_path, TWO).submission


def test_a_stop_reaches_every_trial_though_the_storage_fails_once(submission, away_once) -> None:
    driver = Driver(submission, reopen(submission))
    with held(submission) as own:
        driver._fence = own.fence
        for trial in submission.trials():
            lease.claim(trial, submission)
        away_once()
        driver.stop("preempted", "SIGTERM")
    for trial in submission.trials():
        request = control.stop_request(trial)
        assert request is not None and request.state == "preempted"


def test_a_lease_is_taken_as_soon_as_the_storage_is_back(submission, away_once) -> None:
    away_once()
    with pytest.raises(OSError, match="away"), held(submission):
        pass
    away_once()
    with held(submission, wait_s=60.0) as own:
        assert own.fence == 1


def test_what_was_pruned_by_another_study_s_rule_may_go_on(
    submission, tmp_path, create_tiny
) -> None:
    """The same trial in a study without early stopping."""
    (trial, _) = submission.trials()
    lease.claim(trial, submission)
    trial.write_status(StatusRecord(state="stopped"))
    control.request_prune(trial, "0.1 at epoch 4")
    Driver(submission, reopen(submission))._claim(trial)
    assert control.asked_of_workers(trial) is not None
    other = create_tiny(tmp_path, TWO, "question=Without a rule?").submission
    Driver(other, reopen(other))._claim(trial)
    assert control.asked_of_workers(trial) is None


def test_a_run_for_one_trial_asks_an_adaptive_search_for_no_other(tmp_path, create_tiny) -> None:
    search = "{name: optuna, num_trials: 5, startup_trials: 2, metric: probe/knn/top1}"
    made = create_tiny(
        tmp_path, f"sweep={{axes: {{masking.ratio: {{low: 0.3, high: 0.9}}}}, search: {search}}}"
    )
    before = [record.id for record in made.submission.trial_records()]
    options = Options(only=frozenset({made.trial.id}))
    driver = Driver(made.submission, reopen(made.submission), options)
    assert driver._more([]) == []
    assert [record.id for record in made.submission.trial_records()] == before
