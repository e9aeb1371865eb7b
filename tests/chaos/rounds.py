"""One submission after another, each disturbed by a few faults, each held against a quiet one."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from chaos.faults import FAULTS, NothingToHit, Scene
from chaos.invariants import broken
from chaos.nodes import Nodes
from chaos.study import write_study
from chaos.tracking import TrackingServer
from chaos.watch import Watch, wait_for
from mimlab.storage.records import DONE, RESTARTED

RECOVER_S = 240.0
"""More than any recovery takes; a study that does not move for so long has not recovered."""
FINISH_S = 900.0
HEALTHY_STEPS = (40, 400)
"""Steps between a recovery and the next fault: at least and at most."""


@dataclass(frozen=True)
class Injection:
    """One fault and what came of it."""

    fault: str
    recovered: bool
    to_first_step_s: float
    """From the fault to the first step after it."""
    lost_s: float
    """From the fault until training was as far again as it had been."""
    lost_steps: int
    """Steps that were done a second time."""


@dataclass(frozen=True)
class Round:
    """A submission that was disturbed."""

    injections: Sequence[Injection]
    seconds: float
    """From the command to its end."""
    broken: Sequence[str]
    """Invariants that do not hold, in words."""
    folder: Path


@dataclass(frozen=True)
class Place:
    """Where all rounds run."""

    folder: Path
    nodes: Nodes
    tracking: TrackingServer
    steps: int


def undisturbed(place: Place) -> tuple[Watch, float]:
    """The same study without any fault, and its seconds."""
    folder = place.folder / "undisturbed"
    file = write_study(folder, steps=place.steps, tracking=place.tracking.uri)
    began = time.monotonic()
    with _supervised(file, place) as supervisor:
        code = supervisor.wait(FINISH_S)
    watch = Watch(folder / "runs")
    if code != 0 or watch.status.state != "finished":
        raise RuntimeError(f"the undisturbed study ended with {code}, {watch.status}: see {folder}")
    return watch, time.monotonic() - began


def disturbed(place: Place, number: int, names: Sequence[str], quiet: Watch, seed: int) -> Round:
    """Run the study, inject the faults one after the other, and compare with the quiet run."""
    folder = place.folder / f"round-{number:03d}"
    file = write_study(folder, steps=place.steps, tracking=place.tracking.uri)
    watch, dice = Watch(folder / "runs"), random.Random(f"{seed}/{number}")
    began = time.monotonic()
    done: list[Injection] = []
    with _supervised(file, place) as supervisor:
        process = psutil.Process(supervisor.pid)
        scene = Scene(process, place.nodes, place.tracking, watch)
        for name in names:
            if not _healthy(watch, supervisor, dice.randint(*HEALTHY_STEPS)):
                break
            with contextlib.suppress(NothingToHit, psutil.NoSuchProcess):
                done.append(inject(name, scene))
        try:
            code = supervisor.wait(FINISH_S)
        except subprocess.TimeoutExpired:
            code = None
    ended = time.monotonic() - began
    wrong = [] if code == 0 else [f"supervise ended with {code}"]
    return Round(done, ended, [*wrong, *broken(watch, quiet)], folder)


def inject(name: str, scene: Scene) -> Injection:
    """Do it, and wait until training is further than it was."""
    watch = scene.watch
    before, starts = watch.status, len(watch.events("training"))
    began = time.monotonic()
    FAULTS[name](scene)
    first: list[float] = []

    def further() -> bool:
        status = watch.status
        restarted = watch.events("training")[starts:]
        moved = status.step > (restarted[-1]["from_step"] if restarted else before.step)
        if moved and not first:
            first.append(time.monotonic() - began)
        return status.step > before.step or status.state in DONE | RESTARTED

    recovered = wait_for(further, RECOVER_S) is not None and watch.status.state not in RESTARTED
    lost_s = time.monotonic() - began
    restarted = watch.events("training")[starts:]
    lost_steps = max(0, before.step - restarted[0]["from_step"]) if restarted else 0
    return Injection(name, recovered, first[0] if first else lost_s, lost_s, lost_steps)


def _healthy(watch: Watch, supervisor: subprocess.Popen[bytes], steps: int) -> bool:
    """Wait until so many steps more are done and there is a checkpoint; False: it has ended."""
    start: list[int] = []

    def far_enough() -> bool:
        status = watch.status
        if supervisor.poll() is not None or status.state in DONE | RESTARTED:
            return True
        if status.state != "running" or not watch.checkpoints():
            return False
        start[:] = start or [status.step]
        return status.step >= start[0] + steps

    wait_for(far_enough, RECOVER_S)
    return supervisor.poll() is None and watch.status.state == "running"


@contextlib.contextmanager
def _supervised(file: Path, place: Place) -> Iterator[subprocess.Popen[bytes]]:
    own = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    with (file.parent / "supervise.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "mimlab.cli.main", "supervise", file.name],
            cwd=file.parent,
            env=own | place.nodes.client_env | {"COLUMNS": "120"},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
