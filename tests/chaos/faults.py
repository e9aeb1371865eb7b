"""What is done to a study that runs. Each fault is what a machine, a network or a person does."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

from chaos.nodes import Nodes
from chaos.tracking import TrackingServer
from chaos.watch import Watch, wait_for
from mimlab.storage.folders import step_name
from mimlab.train.checkpoint import MANIFEST_FILE

AWAY_S = 8.0
"""How long what comes back by itself is away."""
APPEAR_S = 30.0
"""How long a process that comes and goes is waited for."""
READ_S = 90.0
"""Within which a new worker reads."""
KNOWN_S = 0.5
"""How long a list of processes holds: to make one takes longer than some reads."""
WORKER, TRIAL = "ray::RayTrainWorker", "ray::ImplicitFunc"
IDLE, READER = "ray::IDLE", "ray::ReadPlan"


class NothingToHit(Exception):
    """The fault found no process or file of its kind: it was not injected."""


@dataclass(frozen=True)
class Scene:
    """All that a fault may touch."""

    supervisor: psutil.Process
    nodes: Nodes
    tracking: TrackingServer
    watch: Watch

    @property
    def driver(self) -> psutil.Process:
        """The process that supervise has started."""
        children = self.supervisor.children()
        if not children:
            raise NothingToHit("no driver runs")
        return children[0]

    def process(self, title: str) -> psutil.Process:
        """The first of the cluster's processes of that title, as soon as there is one."""
        wait_for(lambda: next(self.nodes.processes(title), None) is not None, APPEAR_S)
        found = next(self.nodes.processes(title), None)
        if found is None:
            raise NothingToHit(f"no process {title}")
        return found


def kill_worker(scene: Scene) -> None:
    """SIGKILL of the train worker."""
    scene.process(WORKER).kill()


def kill_reader(scene: Scene) -> None:
    """SIGKILL of a Ray Data task in the midst of reading. So little data is read whole as training
    begins, and hardly ever again: the worker is killed first, the reader of the next one then."""
    scene.process(WORKER).kill()
    deadline = time.monotonic() + READ_S
    while time.monotonic() < deadline:
        idle = [*scene.nodes.processes(IDLE), *scene.nodes.processes(READER)]
        known_until = time.monotonic() + KNOWN_S
        while time.monotonic() < known_until:
            for process in idle:
                with contextlib.suppress(psutil.Error):
                    if "".join(process.cmdline()).startswith(READER):
                        process.kill()
                        return
    raise NothingToHit("nothing reads")


def kill_trial(scene: Scene) -> None:
    """SIGKILL of the Tune trial's process."""
    scene.process(TRIAL).kill()


def kill_driver(scene: Scene) -> None:
    """SIGKILL of the driver."""
    scene.driver.kill()


def freeze_driver(scene: Scene) -> None:
    """SIGSTOP of the driver for longer than a lease lives; then it goes on."""
    driver = scene.driver
    driver.suspend()
    time.sleep(2 * AWAY_S)
    driver.resume()


def preempt(scene: Scene) -> None:
    """SIGTERM to the driver: a machine is about to be taken away."""
    scene.driver.send_signal(signal.SIGTERM)


def kill_node(scene: Scene) -> None:
    """A node that trains is gone; another comes a while later."""
    node = scene.nodes.node_of(scene.process(WORKER))
    if node is None:
        raise NothingToHit("the worker is on the head node")
    node.kill()
    time.sleep(AWAY_S)
    scene.nodes.start()


def kill_head(scene: Scene) -> None:
    """The head and all nodes are gone; a new cluster comes at the same address."""
    scene.nodes.stop()
    time.sleep(AWAY_S)
    scene.nodes.start()


def tear_checkpoint(scene: Scene) -> None:
    """The newest checkpoint is cut in half as its writer dies."""
    worker = scene.process(WORKER)
    path = _newest_file(scene)
    worker.kill()
    os.truncate(path, path.stat().st_size // 2)


def flip_bit(scene: Scene) -> None:
    """A bit of the newest checkpoint flips; then the worker dies."""
    worker = scene.process(WORKER)
    path = _newest_file(scene)
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        (byte,) = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte ^ 4]))
    worker.kill()


def lose_tracking(scene: Scene) -> None:
    """MLflow's server is killed, and comes back a while later."""
    scene.tracking.kill()
    time.sleep(AWAY_S)
    scene.tracking.start()


def fill_disk(scene: Scene) -> None:
    """The results' disk is full, until somebody makes room."""
    root = Path(str(scene.watch.store.root))
    ballast = root / "ballast"
    with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(1 << 20))
    time.sleep(AWAY_S)
    ballast.unlink()


def _newest_file(scene: Scene) -> Path:
    """The largest file of the newest checkpoint, as soon as it is whole and has one before it."""
    wait_for(lambda: _newest(scene.watch) is not None, APPEAR_S)
    folder = _newest(scene.watch)
    if folder is None:
        raise NothingToHit(f"no second checkpoint within {APPEAR_S:.0f} s")
    files = [path for path in folder.iterdir() if path.name != MANIFEST_FILE]
    return max(files, key=lambda path: path.stat().st_size)


def _newest(watch: Watch) -> Path | None:
    trial, steps = watch.trial, watch.checkpoints()
    if trial is None or len(steps) < 2:
        return None
    folder = Path(str(watch.store.root)) / trial.file(f"checkpoints/{step_name(steps[-1])}")
    return folder if (folder / MANIFEST_FILE).exists() else None


FAULTS: Mapping[str, Callable[[Scene], None]] = {
    fault.__name__: fault
    for fault in (
        kill_worker,
        kill_reader,
        kill_trial,
        kill_driver,
        freeze_driver,
        preempt,
        kill_node,
        kill_head,
        tear_checkpoint,
        flip_bit,
        lose_tracking,
        fill_disk,
    )
}
"""By name."""
ENDS_TRAINING = FAULTS.keys() - {"freeze_driver", "lose_tracking", "fill_disk"}
"""Those after which another process trains. The others at most hold it up."""
