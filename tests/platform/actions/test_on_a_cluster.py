"""Actions on a real Ray head: submitted, stopped, resumed, paused, put back and forked."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ray_node import OPEN, RayNode

from mimlab.actions import audit
from mimlab.actions.fork import fork
from mimlab.actions.pause import pause_trial
from mimlab.actions.ray_jobs import RayJobs
from mimlab.actions.resume import resume_submission, resume_trial
from mimlab.actions.status import standing
from mimlab.actions.stop import stop_submission
from mimlab.actions.submit import submit
from mimlab.errors import NotNow, UserError
from mimlab.storage import lease
from mimlab.storage.folders import SubmissionFolder, TrialFolder
from mimlab.storage.journal import read_points
from mimlab.storage.store import Store
from mimlab.train.checkpoint import read_committed
from one_machine.ports import free_port

pytestmark = [pytest.mark.slow, pytest.mark.own_cluster, pytest.mark.timeout(2400)]

PATIENCE_S = 900.0
STEPS = 400
CHANGES = [
    f"train.budget={{steps: {STEPS}}}",
    "train.checkpoint.every_epochs=1",
    "probes=[]",
    "resources={concurrent_trials: 1}",
]
TWO = "sweep={axes: {masking.ratio: [0.5, 0.75]}}"


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RayJobs]:
    """A Ray head with its dashboard, whose nodes have another mimlab than what is sent, or none."""
    dashboard = free_port()
    env = os.environ | OPEN
    env.pop("PYTHONPATH", None)
    os.environ["RAY_AUTH_MODE"] = "disabled"
    node = RayNode(
        [
            *("--head", f"--port={free_port()}", f"--dashboard-port={dashboard}"),
            f"--ray-client-server-port={free_port()}",
            *("--num-cpus=3", "--object-store-memory=300000000"),
        ],
        temporary=Path("/tmp", f"ray-{os.getpid()}"),
        env=env,
        log=tmp_path_factory.mktemp("ray") / "log",
    )
    jobs = RayJobs(f"http://127.0.0.1:{dashboard}")
    wait_for(lambda: answers(jobs), "no dashboard came")
    yield jobs
    node.kill()


def answers(jobs: RayJobs) -> bool:
    try:
        jobs.state("none")
    except (UserError, NotNow):
        return False
    return True


def wait_for(met: Callable[[], bool], otherwise: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not met():
        assert time.monotonic() < deadline, otherwise
        time.sleep(0.2)


def sent(text: str, store: Store, head: RayJobs, *changes: str) -> SubmissionFolder:
    """A submission that its driver has written."""
    found = submit(
        text,
        store=store,
        launcher=head,
        user="ada",
        preset=None,
        overrides=[*CHANGES, *changes],
    )
    folder = SubmissionFolder(store, found)
    wait_for(lambda: store.exists(folder.file("submission.json")), head.log_tail(found, 50))
    return folder


class FromAfar(RayJobs):
    """A head, as it is for a machine that sees none of its folders."""

    @property
    def is_remote(self) -> bool:
        return True


def from_afar(head: RayJobs) -> RayJobs:
    return FromAfar(head.address, python=sys.executable)


def has_checkpoint(trial: TrialFolder) -> bool:
    whole = any(read_committed(trial, step) for step in trial.steps("checkpoints"))
    return whole and trial.status().state == "running"


def test_submitted_stopped_and_resumed_to_the_end(head, tiny_study, tmp_path: Path) -> None:
    store = Store(tmp_path)
    folder = sent(tiny_study, store, head)
    (trial,) = folder.trials()
    assert folder.record().user == "ada"
    assert head.page(folder.id) == f"{head.address}/#/jobs/{folder.id}"
    wait_for(lambda: has_checkpoint(trial), "no checkpoint came")
    assert standing(store, folder.id, head).job == "running"
    stop_submission(store, folder.id, "bob", head)
    wait_for(lambda: head.state(folder.id) == "failed", "the driver did not end")
    status = trial.status()
    assert (status.state, status.reason) == ("stopped", "stopped by bob")
    assert status.step < STEPS and lease.driver_of(folder) is None
    resume_submission(store, folder.id, "bob", launcher=head)
    wait_for(lambda: head.state(folder.id) == "ended", "the study did not end")
    assert trial.status().state == "finished" and trial.status().attempt == 2
    assert "going on" not in head.log_tail(folder.id, 5)
    assert head.page(folder.id) == f"{head.address}/#/jobs/{folder.id}-2"
    forked = fork(store, trial.id, ["train.budget.steps=480"], launcher=head, by="ada")
    (child,) = SubmissionFolder(store, forked).trials()
    wait_for(lambda: head.state(forked) == "ended", "the fork did not end")
    assert child.status().state == "finished" and child.status().attempt == 1
    points = read_points(store, child.file("journal"))
    assert points[0].step == STEPS + 5 and points[-1].step == 480


def test_a_trial_is_paused_and_put_back_while_the_driver_runs(
    head, tiny_study, tmp_path: Path
) -> None:
    store = Store(tmp_path / "theirs")
    folder = sent(tiny_study, store, from_afar(head), TWO)
    first, other = folder.trials()
    wait_for(lambda: has_checkpoint(first), "no checkpoint came")
    pause_trial(store, folder.id, first.id, "bob")
    said = [(line.who, line.what, line.on) for line in audit.read(store)]
    assert said == [("ada", "submit", folder.id), ("bob", "pause", first.id)]
    wait_for(lambda: other.status().state == "running", "the other did not take its place")
    assert first.status().reason == "paused by bob"
    resume_trial(store, folder.id, first.id, "bob", launcher=None)
    wait_for(lambda: head.state(folder.id) == "ended", "the study did not end")
    assert {first.status().state, other.status().state} == {"finished"}
    assert first.status().attempt == 2 and other.status().attempt == 1
    held = lease.current(store, folder.id)
    assert held is not None and held.fence == 1


def test_what_only_the_driver_can_refuse_is_told_by_its_log(
    head, tiny_study, tmp_path: Path
) -> None:
    store = Store(tmp_path)
    found = submit(
        tiny_study,
        store=store,
        launcher=head,
        user="ada",
        preset=None,
        overrides=["resources={cpus_per_worker: 64}"],
    )
    wait_for(lambda: head.state(found) == "failed", "the driver did not refuse it")
    told = standing(store, found, head)
    assert told.trials == [] or {trial.state for trial in told.trials} == {"pending"}
    assert "64" in head.log_tail(found, 20)
