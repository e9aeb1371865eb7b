"""One driver holds a submission; whoever was superseded finds out before it writes."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from mimlab.errors import UserError
from mimlab.storage import lease
from mimlab.storage.folders import SubmissionFolder, TrialFolder
from mimlab.storage.machine import machine, process_born
from mimlab.storage.records import LeaseRecord, StatusRecord
from mimlab.storage.store import Store


@pytest.fixture(params=["folder", "bucket"])
def submission(request: pytest.FixtureRequest, tmp_path: Path) -> SubmissionFolder:
    """One here, and one in a bucket."""
    here = request.param == "folder"
    root = tmp_path if here else request.getfixturevalue("bucket").uri("runs")
    return SubmissionFolder(Store(root), "study-1")


def held_by(submission: SubmissionFolder, **changes) -> LeaseRecord:
    """A lease file as another driver would have left it."""
    record = LeaseRecord(
        fence=1, host="elsewhere", machine="another", pid=1, process_born=0, counter=7
    ).model_copy(update=changes)
    submission.store.write_record(submission.file(f"lease/{record.fence:06d}.json"), record)
    return record


def test_a_second_driver_is_refused_and_told_who_holds_it(submission) -> None:
    lease.acquire(submission)
    with pytest.raises(UserError) as caught:
        lease.acquire(submission)
    message = str(caught.value)
    assert f"process {psutil.Process().pid}" in message
    assert "--new" in message


def test_a_released_lease_is_taken_at_once_with_a_higher_number(submission) -> None:
    first = lease.acquire(submission)
    first.release()
    second = lease.acquire(submission)
    assert second.fence == first.fence + 1


def test_the_lease_of_a_dead_process_on_this_machine_is_taken_at_once(submission) -> None:
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    born = process_born(process.pid)
    held_by(submission, machine=machine(), pid=process.pid, process_born=born)
    with pytest.raises(UserError):
        lease.acquire(submission)
    process.kill()
    process.wait()
    assert lease.acquire(submission).fence == 2


def test_a_reused_process_number_does_not_hold_a_lease(submission) -> None:
    held_by(submission, machine=machine(), pid=os.getpid(), process_born=1)
    assert lease.acquire(submission).fence == 2


def test_a_holder_elsewhere_is_waited_for_even_under_the_same_host_name(submission) -> None:
    """Containers and clones share names; its process number means nothing here."""
    held_by(submission, host=socket.gethostname(), pid=2**22 + 1)
    began = time.monotonic()
    assert lease.acquire(submission, expire_s=0.3).fence == 2
    assert time.monotonic() - began >= 0.3


def test_a_driver_lives_for_as_long_as_it_renews(submission) -> None:
    own = lease.acquire(submission)
    assert lease.driven(submission.store, submission.id, own.fence)
    held_by(submission, fence=2)
    assert not lease.driven(submission.store, submission.id, own.fence)
    assert not lease.driven(submission.store, submission.id, 2, expire_s=0.3)
    renewing = threading.Timer(0.2, held_by, [submission], {"fence": 2, "counter": 8})
    renewing.start()
    assert lease.driven(submission.store, submission.id, 2, expire_s=2.0)
    renewing.join()


def test_a_silent_holder_elsewhere_loses_the_lease_after_the_wait(submission) -> None:
    held_by(submission)
    assert lease.acquire(submission, expire_s=0.3).fence == 2


def test_a_holder_whose_counter_moves_keeps_the_lease(submission) -> None:
    held_by(submission)

    def renew() -> None:
        time.sleep(0.2)
        held_by(submission, counter=8)

    thread = threading.Thread(target=renew)
    thread.start()
    with pytest.raises(UserError, match="elsewhere"):
        lease.acquire(submission, expire_s=2.0)
    thread.join()


def test_a_superseded_holder_learns_it_before_it_writes(submission) -> None:
    first = lease.acquire(submission)
    first.renew()
    held_by(submission, fence=2)
    with pytest.raises(lease.LeaseLost, match="superseded"):
        first.renew()
    with pytest.raises(lease.LeaseLost):
        lease.check_fence(submission.store, submission.id, first.fence)


def test_workers_of_an_earlier_attempt_are_shut_out(submission) -> None:
    trial = TrialFolder(submission.store, "abc")
    lease.check_attempt(trial, 1)
    assert lease.begin_attempt(trial, submission.id, 1) == 1
    lease.check_attempt(trial, 1)
    # What has outlived it says in the status, too late, that attempt 1 runs.
    assert lease.begin_attempt(trial, submission.id, 1) == 2
    lease.check_attempt(trial, 2)
    with pytest.raises(lease.LeaseLost, match="attempt 1 was superseded by 2"):
        lease.check_attempt(trial, 1)
    lease.claim(trial, submission)
    assert lease.begin_attempt(trial, submission.id, 1) == 3


def test_a_trial_that_another_live_submission_runs_is_not_taken(submission) -> None:
    trial = TrialFolder(submission.store, "trial")
    other = SubmissionFolder(submission.store, "study-2")
    lease.acquire(submission)
    lease.claim(trial, submission)
    trial.write_status(StatusRecord(state="running"))
    with pytest.raises(UserError, match="part of submission study-1 too"):
        lease.claim(trial, other)


def test_a_trial_of_a_submission_that_ended_is_taken(submission) -> None:
    trial = TrialFolder(submission.store, "trial")
    other = SubmissionFolder(submission.store, "study-2")
    held = lease.acquire(submission)
    lease.claim(trial, submission)
    trial.write_status(StatusRecord(state="running"))
    held.release()
    lease.claim(trial, other)
    lease.acquire(other)
    with pytest.raises(UserError, match="study-2"):
        lease.claim(trial, submission)


def test_workers_that_were_started_again_shut_out_those_before(submission) -> None:
    """Within one attempt: Ray Train gives up a group that it does not hear of any more."""
    trial = TrialFolder(submission.store, "trial")
    lease.claim(trial, submission)
    attempt = lease.begin_attempt(trial, submission.id, 1)
    first = lease.begin_group(trial)
    lease.check_attempt(trial, attempt, first)
    second = lease.begin_group(trial)
    with pytest.raises(lease.LeaseLost, match="superseded"):
        lease.check_attempt(trial, attempt, first)
    lease.check_attempt(trial, attempt, second)
    lease.check_attempt(trial, attempt)  # of those that write nothing
    lease.claim(trial, submission)
    lease.begin_attempt(trial, submission.id, 1)
    assert lease.begin_group(trial) > second


def test_a_trial_is_owned_by_who_claimed_it_last(submission) -> None:
    other = SubmissionFolder(submission.store, "study-2")
    trial = TrialFolder(submission.store, "trial")
    assert not lease.owns(submission, trial)
    lease.claim(trial, submission)
    assert lease.owns(submission, trial) and not lease.owns(other, trial)
    lease.claim(trial, other)
    assert lease.owns(other, trial) and not lease.owns(submission, trial)
