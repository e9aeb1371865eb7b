"""Results in a bucket, where every question takes its time: little is asked twice."""

from __future__ import annotations

from typing import Any

import pytest
from s3 import Bucket, Proxy

from mimlab.serve.reading import Reading
from mimlab.serve.reading.trials import LISTED
from mimlab.storage.store import Store

SUBMISSIONS, TRIALS = 5, 5
MOST_LOOKS = SUBMISSIONS * TRIALS + 1
REQUESTS_OF_A_READ = 2
"""pyarrow asks for the size first."""


@pytest.fixture(scope="module")
def bucket(s3_server: str) -> Bucket:
    return Bucket.made(s3_server)


@pytest.fixture(scope="module")
def written(bucket: Bucket, storage_at: Any) -> Any:
    """Submissions of trials that are finished."""
    storage = storage_at(bucket.uri("runs"))
    for i in range(SUBMISSIONS):
        trials = [storage.trial("random", i, seed) for seed in range(TRIALS)]
        submission = storage.submission(f"ratio-20260115-10150{i}", trials)
        storage.lease(submission, released=True)
        for trial in trials:
            storage.owner(trial, submission)
            storage.points(trial, [3.0, 2.0])
            storage.probe(trial, 20, 0.5)
            storage.status(trial, "finished", 20, 20)
    return storage


@pytest.fixture
def reading(written: Any, bucket: Bucket, proxy: Proxy) -> Reading:
    """Has counted all hours; a test sees what it asks for."""
    found = Reading(Store(bucket.uri("runs").replace(bucket.server, proxy.address)))
    for _ in range(MOST_LOOKS):
        if all(each.hours_spent is not None for each in found.submissions()):
            return found
    raise TimeoutError("the hours are never counted")


def test_a_look_at_what_has_ended_asks_for_two_listings_and_each_status(
    reading: Reading, proxy: Proxy
) -> None:
    """Of the submissions, and of the queue."""
    before = reading.submissions()
    proxy.asked.clear()
    assert reading.submissions() == before
    trials = sum(each.num_trials for each in before)
    assert trials == SUBMISSIONS * TRIALS
    assert len(proxy.asked) <= 2 + trials * REQUESTS_OF_A_READ, proxy.asked


def test_a_look_at_a_submission_lists_once_what_its_table_shows(
    reading: Reading, proxy: Proxy
) -> None:
    """Of each trial three folders and the status; of itself, and of the queue, a folder."""
    before = reading.submission("ratio-20260115-101501")
    assert all(trial.scores for trial in before.trials)
    proxy.asked.clear()
    assert reading.submission("ratio-20260115-101501") == before
    listed = [line for line in proxy.asked if b"prefix=" in line]
    assert len(listed) == len(set(listed)) == 2 + len(LISTED) * TRIALS, listed
    missing = 1  # the link to MLflow
    most = len(listed) + TRIALS * REQUESTS_OF_A_READ + missing
    assert len(proxy.asked) <= most, proxy.asked


def test_a_line_of_a_log_is_read_once(reading: Reading, written: Any, proxy: Proxy) -> None:
    submission, trial = "ratio-20260115-101500", "random-0-0"
    for step in range(20):
        written.store.append(f"trials/{trial}/log.jsonl", f'{{"step": {step}}}')
    assert len(reading.trial(submission, trial).log_tail) == 20
    written.store.append(f"trials/{trial}/log.jsonl", '{"step": 20}')
    proxy.asked.clear()
    assert reading.trial(submission, trial).log_tail[-1] == '{"step": 20}'
    read = [line for line in proxy.asked if b"log.jsonl" in line and b"prefix=" not in line]
    assert len(read) <= REQUESTS_OF_A_READ, read


def test_what_changes_is_seen_at_the_next_look(reading: Reading, written: Any) -> None:
    submission, trial = "ratio-20260115-101500", written.trial("random", 0, 1)
    before = {each.id: each for each in reading.submissions()}[submission]
    written.status(trial, "failed", 30, 40)
    written.points(trial, [1.0], first_step=30)
    trials = f"submissions/{submission}/trials.json"
    written.store.write(trials, written.store.read(trials).replace(b"0.95", b"0.85"))
    written.submission("late-20260115-101600", [trial])
    after = {each.id: each for each in reading.submissions()}
    assert "late-20260115-101600" in after
    assert after[submission].trials == {"finished": TRIALS - 1, "failed": 1}
    # Another 10 steps of 1 s, and no probe of 1.5 s after the last one, on 2 workers of 3 cores.
    assert before.hours_spent is not None
    spent = before.hours_spent + (1.0 - 1.5) * 2 * 3 / 3600
    assert after[submission].hours_spent == pytest.approx(spent)
    assert "0.85" in reading.trial(submission, trial.id).resolved_text
