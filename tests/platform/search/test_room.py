"""Trials start where there is room for them, and a cluster that can grow is asked to."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from listening import await_port
from ray.autoscaler._private.fake_multi_node.node_provider import (
    FAKE_HEAD_NODE_ID,
    FakeMultiNodeProvider,
)
from ray_node import OPEN, RayNode

from mimlab.storage.folders import SubmissionFolder, submissions
from mimlab.storage.journal import read_points
from mimlab.storage.store import Store
from one_machine.ports import free_port

pytestmark = [pytest.mark.slow, pytest.mark.own_cluster, pytest.mark.timeout(1200)]

PATIENCE_S = 400.0
STUDY = """
study: room
data: {{images: digits, image_size: 16, augment: {{crop_scale: [0.6, 1.0], flip: 0.0}}}}
backbone: {{name: vit_tiny_patch16_224, patch_size: 4, embed_dim: 32, depth: 2, num_heads: 2}}
objective: {{name: mae, decoder_width: 16, decoder_depth: 1, decoder_heads: 2}}
target: {{name: pixels}}
masking: {{name: random, ratio: 0.75}}
train: {{budget: {{steps: {steps}}}, batch_size: 100}}
probes: []
resources: {{cpus_per_worker: {cpus}}}
sweep: {{axes: {{masking.ratio: [0.5, 0.75]}}}}
storage: "{storage}"
"""


class Head:
    """A head without CPUs of its own, and nodes that join it; ended with all they have started."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._temporary: list[Path] = []
        self._nodes: list[RayNode] = []
        self._port = free_port()
        self.address = f"127.0.0.1:{self._port}"

    def start(self, *options: str, **env: str) -> None:
        self._ray("--head", f"--port={self._port}", "--num-cpus=0", *options, **env)
        await_port(self._port, PATIENCE_S)

    def join(self, cpus: int) -> None:
        self._ray(f"--address={self.address}", f"--num-cpus={cpus}")

    def _ray(self, *options: str, **env: str) -> None:
        temporary = Path("/tmp", f"room-{os.getpid()}-{len(self._nodes)}")
        self._temporary.append(temporary)
        self._nodes.append(
            RayNode(
                [*options, "--object-store-memory=200000000"],
                temporary=temporary,
                env=os.environ | OPEN | env,
                log=self._folder / "ray.log",
            )
        )

    def end(self) -> None:
        for node in self._nodes:
            node.kill()
        # Fake nodes are daemons, and nobody's children.
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if self.address in " ".join(process.cmdline()):
                    process.kill()
        for temporary in self._temporary:
            shutil.rmtree(temporary, ignore_errors=True)


@pytest.fixture
def head(tmp_path: Path) -> Iterator[Head]:
    found = Head(tmp_path)
    yield found
    found.end()


class Run:
    """`mimlab run` of two trials on a head's cluster."""

    def __init__(self, folder: Path, address: str, *, cpus: float, steps: int = 60) -> None:
        study = STUDY.format(cpus=cpus, steps=steps, storage=folder / "runs")
        (folder / "study.yaml").write_text(study)
        self.store = Store(folder / "runs")
        self._log = folder / "run.log"
        own = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "mimlab.cli.main", "run", "study.yaml"],
                cwd=folder,
                env=own | OPEN | {"RAY_ADDRESS": address, "COLUMNS": "200"},
                stdout=log,
                stderr=log,
            )

    @property
    def said(self) -> str:
        return self._log.read_text()

    @property
    def submission(self) -> SubmissionFolder:
        (found,) = submissions(self.store)
        return found

    def states(self) -> list[str]:
        return [trial.status().state for trial in self.submission.trials()]


def wait_for(met: Callable[[], bool], otherwise: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not met():
        assert time.monotonic() < deadline, otherwise
        time.sleep(0.2)


def test_nodes_that_join_after_the_driver_are_waited_for(head: Head, tmp_path: Path) -> None:
    head.start()
    run = Run(tmp_path, head.address, cpus=1)
    wait_for(lambda: bool(submissions(run.store)), "the driver did not begin")
    head.join(cpus=3)
    assert run.process.wait(PATIENCE_S) == 0, run.said
    assert run.states() == ["finished", "finished"]


def test_too_small_a_cluster_is_refused_with_what_would_fit(head: Head, tmp_path: Path) -> None:
    head.start()
    head.join(cpus=3)
    run = Run(tmp_path, head.address, cpus=8)
    assert run.process.wait(PATIENCE_S) == 2, run.said
    assert "this cluster has 3" in run.said and "cpus_per_worker to at most" in run.said


@pytest.fixture
def growing(head: Head, tmp_path: Path) -> Head:
    """A cluster of no nodes, whose autoscaler starts up to two of 2 CPUs: Ray's own, with its
    provider of nodes that are processes of this machine."""
    kind = {"node_config": {}, "min_workers": 0}
    config = {
        "cluster_name": "growing",
        "max_workers": 2,
        "idle_timeout_minutes": 5,
        "upscaling_speed": 9,
        "provider": {
            "type": "external",  # the same as `fake_multinode`, whose defaults Ray's wheel lacks
            "module": f"{FakeMultiNodeProvider.__module__}.FakeMultiNodeProvider",
            "gcs_address": head.address,
            "head_node_id": FAKE_HEAD_NODE_ID,
            "launch_multiple": True,
        },
        "head_node_type": "ray.head.default",
        "available_node_types": {
            "ray.head.default": kind | {"resources": {"CPU": 0}, "max_workers": 0},
            "ray.worker.cpu": kind | {"resources": {"CPU": 2}, "max_workers": 2},
        },
    }
    # Of no use to nodes that are processes, but missed.
    lists = ("setup", "head_setup", "worker_setup", "head_start_ray", "worker_start_ray")
    config |= {f"{name}_commands": [] for name in (*lists, "initialization")}
    config |= {"auth": {}, "file_mounts": {}, "cluster_synced_files": [], "rsync_exclude": []}
    config |= {"rsync_filter": [], "file_mounts_sync_continuously": False}
    file = tmp_path / "autoscaler.yaml"
    file.write_text(json.dumps(config))
    head.start(
        f"--autoscaling-config={file}",
        AUTOSCALER_UPDATE_INTERVAL_S="1",
        RAY_FAKE_CLUSTER="1",
        RAY_enable_autoscaler_v2="1",
        RAY_CLOUD_INSTANCE_ID=FAKE_HEAD_NODE_ID,
        RAY_NODE_TYPE_NAME="ray.head.default",
    )
    return head


def test_a_cluster_without_nodes_grows_to_what_the_trials_need(
    growing: Head, tmp_path: Path
) -> None:
    run = Run(tmp_path, growing.address, cpus=1, steps=400)
    assert run.process.wait(PATIENCE_S) == 0, run.said
    assert run.states() == ["finished", "finished"]
    trials = run.submission.trials()
    assert [trial.status().attempt for trial in trials] == [1, 1]
    first, second = (read_points(run.store, trial.file("journal")) for trial in trials)
    assert second[0].time_ms < first[-1].time_ms  # each has a node


def test_a_study_that_waits_for_nodes_says_so_and_can_be_stopped(
    growing: Head, tmp_path: Path
) -> None:
    run = Run(tmp_path, growing.address, cpus=8)
    wait_for(lambda: "waiting for nodes" in run.said, "it does not say what it waits for")
    run.process.send_signal(signal.SIGINT)
    assert run.process.wait(PATIENCE_S) == 1, run.said
    assert run.states() == ["stopped", "stopped"]
