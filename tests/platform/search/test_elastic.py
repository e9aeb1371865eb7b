"""A trial whose number of workers is a range follows a cluster that loses a node and gains one."""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import ray
from ray.cluster_utils import Cluster

import mimlab
import mimlab_objectives
from mimlab.search import ray_settings
from mimlab.search.workers import fit
from mimlab.spec.study import Resources
from mimlab.storage import lease
from mimlab.storage.control import Outcome, read_outcome
from mimlab.storage.folders import TrialFolder
from mimlab.storage.journal import read_points
from mimlab.train.checkpoint import read_checkpoint, read_committed
from mimlab.train.reporter import VOLATILE_KEYS

pytestmark = [
    pytest.mark.slow,
    pytest.mark.own_cluster,
    pytest.mark.timeout(2400),
    # Ray leaves files, sockets and its log files to the garbage collector.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]

STEPS = 400
LOGGED = 5
STUDY = (
    f"train.budget={{steps: {STEPS}}}",
    f"train.log_every={LOGGED}",
    "train.checkpoint={every_epochs: 1, keep_last: 99}",
    # So small that rounding does not grow into another trial.
    "train.optimizer.base_lr=1.0e-5",
    # Drop path is drawn by rank; without it only the order of floating-point sums differs.
    "backbone.drop_path=0.0",
    "probes=[]",
)
BESIDE_CPUS = 1.0
NODE_BYTES = 100 * 2**20
PATIENCE_S = 900.0


class Trial(NamedTuple):
    """A trial, and what its workers are told."""

    folder: TrialFolder
    told: Any

    def fit(self, workers: int | dict[str, int]) -> Outcome | None:
        resources = Resources.model_validate({"workers": workers, "cpus_per_worker": 1})
        fit(self.told, self.folder, resources, beside_cpus=BESIDE_CPUS, resize_s=2.0)
        return read_outcome(self.folder)

    def events(self, event: str) -> list[dict]:
        path = self.folder.file("log.jsonl")
        if not self.folder.store.exists(path):
            return []
        lines = map(json.loads, self.folder.store.read(path).splitlines())
        return [line for line in lines if line["event"] == event]

    def worlds(self) -> list[int]:
        """Number of workers of each group, in the order in which they came."""
        return [line["world"] for line in self.events("training") if line["rank"] == 0]

    def curve(self) -> dict[int, dict[str, float]]:
        points = read_points(self.folder.store, self.folder.file("journal"))
        assert [p.seq for p in points] == list(range(1, len(points) + 1))
        return {
            p.step: {k: v for k, v in p.metrics.items() if k not in VOLATILE_KEYS} for p in points
        }

    def has_checkpoint(self) -> bool:
        """Whether it can go on from one: a folder may be half of one yet."""
        return any(read_committed(self.folder, s) for s in self.folder.steps("checkpoints"))

    def hashes(self) -> dict[int, str]:
        """The next batch at each checkpoint."""
        found = {s: read_checkpoint(self.folder, s) for s in self.folder.steps("checkpoints")}
        return {step: pair[1].next_batch_hash for step, pair in found.items() if pair}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A head that one worker fits on, beside what a trial needs else."""
    ray_settings.apply()
    roots = [str(Path(package.__path__[0]).parent) for package in (mimlab, mimlab_objectives)]
    # What a trial needs beside its workers is reserved where most memory is: of the head.
    head = {"num_cpus": 2, "include_dashboard": False, "object_store_memory": 2 * NODE_BYTES}
    made = Cluster(initialize_head=True, head_node_args=head)
    path = os.pathsep.join([*roots, os.environ.get("PYTHONPATH", "")])
    ray.init(
        address=made.address,
        log_to_driver=False,
        logging_level=logging.ERROR,
        runtime_env={"env_vars": {"PYTHONPATH": path}},
    )
    yield made
    ray.shutdown()
    made.shutdown()


@pytest.fixture(scope="module")
def trial_of(tmp_path_factory: pytest.TempPathFactory, create_tiny) -> Callable[[str], Trial]:
    def create(name: str) -> Trial:
        made = create_tiny(tmp_path_factory.mktemp(name), *STUDY)
        held = lease.acquire(made.submission)
        told = made.worker(held.fence)
        lease.begin_attempt(made.trial, made.submission.id, told.attempt)
        return Trial(made.trial, told)

    return create


@pytest.fixture(scope="module")
def elastic(cluster: Cluster, trial_of: Callable[[str], Trial]) -> Trial:
    """Two workers; then one, since a node is killed; then two again, since another one comes."""
    trial = trial_of("elastic")
    first = cluster.add_node(num_cpus=1, object_store_memory=NODE_BYTES)
    with ThreadPoolExecutor(1) as executor:
        training = executor.submit(trial.fit, {"min": 1, "max": 2})

        def wait_for(met: Callable[[], bool], otherwise: str) -> None:
            deadline = time.monotonic() + PATIENCE_S
            while not met():
                assert not training.done(), training.result()
                assert time.monotonic() < deadline, otherwise
                time.sleep(0.1)

        wait_for(trial.has_checkpoint, "no checkpoint came")
        assert trial.worlds() == [2]
        cluster.remove_node(first, allow_graceful=False)
        wait_for(lambda: trial.worlds() == [2, 1], "no one went on alone")
        cluster.add_node(num_cpus=1, object_store_memory=NODE_BYTES)
        wait_for(lambda: trial.worlds() == [2, 1, 2], "no one joined")
        assert training.result(timeout=PATIENCE_S) == Outcome(state="finished", step=STEPS)
    return trial


def test_it_goes_on_with_fewer_and_then_with_more(elastic: Trial) -> None:
    assert elastic.worlds() == [2, 1, 2]
    shrunk, grown = elastic.events("resumed")
    assert shrunk["exact"] is False and grown["exact"] is False
    said = "the samples are the same, floating-point sums are not"
    assert shrunk["differs"] == [f"workers 2 → 1: {said}"]
    assert grown["differs"] == [f"workers 1 → 2: {said}"]
    assert elastic.folder.status().differs == [*shrunk["differs"], *grown["differs"]]


def test_growing_loses_no_step_and_is_no_death(elastic: Trial) -> None:
    resizing = elastic.events("resizing")[-1]
    assert (resizing["from"], resizing["to"], resizing["saved"]) == (1, 2, True)
    grown = elastic.events("resumed")[1]
    assert grown["step"] > 0 and grown["step"] in elastic.folder.steps("checkpoints")
    # With their node, if that was seen before the node was missed.
    assert len(elastic.events("workers died")) <= 1
    compared = sum(line["points"] for line in elastic.events("points compared"))
    shrunk = elastic.events("resumed")[0]
    done_twice = [p for p in elastic.curve() if p > shrunk["step"]]
    assert compared <= len(done_twice)
    assert elastic.folder.status().attempt == elastic.told.attempt


def test_the_batches_and_the_curve_are_those_of_one_worker(
    elastic: Trial, trial_of: Callable[[str], Trial]
) -> None:
    alone = trial_of("alone")
    assert alone.fit(1) == Outcome(state="finished", step=STEPS)
    ours, others = elastic.hashes(), alone.hashes()
    assert len(others) > 10 and others.items() <= ours.items()
    expected, found = alone.curve(), elastic.curve()
    assert list(found) == list(expected) == list(range(LOGGED, STEPS + 1, LOGGED))
    sums = ("train/loss", "train/grad_norm")
    for step, point in expected.items():
        for key, value in point.items():
            near = pytest.approx(value, rel=1e-4) if key in sums else value
            assert found[step][key] == near, (step, key)
