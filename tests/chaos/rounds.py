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
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import psutil

from chaos.faults import ENDS_TRAINING, FAULTS, NothingToHit, Scene
from chaos.invariants import broken
from chaos.nodes import Nodes
from chaos.study import write_study
from chaos.tracking import TrackingServer
from chaos.watch import Watch, wait_for
from mimlab.storage.records import DONE, RESTARTED

RECOVER_S = 240.0
"""More than any recovery takes; a study that does not move for so long has not recovered."""
FINISH_S = 900.0
HEALTHY_STEPS = (40, 240)
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
    apart_s: float
    """From one fault to the next, at least."""


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
    hit = began
    with _supervised(file, place) as supervisor:
        process = psutil.Process(supervisor.pid)
        scene = Scene(process, place.nodes, place.tracking, watch)
        for name in names:
            if not _healthy(watch, supervisor, dice.randint(*HEALTHY_STEPS)):
                break
            wait_for(lambda: supervisor.poll() is not None, hit + place.apart_s - time.monotonic())
            hit = time.monotonic()
            try:
                done.append(inject(name, scene))
            except (NothingToHit, psutil.NoSuchProcess) as why:
                print(f"{number:3d} {name} was not injected: {why}", flush=True)
        try:
            code = supervisor.wait(FINISH_S)
        except subprocess.TimeoutExpired:
            code = None
    ended = time.monotonic() - began
    wrong = [] if code == 0 else [f"supervise ended with {code}"]
    return Round(done, ended, [*wrong, *broken(watch, quiet)], folder)


def inject(name: str, scene: Scene) -> Injection:
    """Do it, and watch until training is further than it was when it was hit."""
    watch, ends = scene.watch, name in ENDS_TRAINING
    starts, reached = len(watch.events("training")), watch.status.step
    began = time.monotonic()
    to_first_step_s: float | None = None
    from_step: int | None = None

    def as_far_again() -> bool:
        nonlocal reached, to_first_step_s, from_step
        status, restarts = watch.status, watch.events("training")[starts:]
        if fault.done() and fault.exception():
            return True
        if restarts:
            from_step = restarts[0]["from_step"] if from_step is None else from_step
            moved = status.step > restarts[-1]["from_step"]
        elif ends:
            reached, moved = max(reached, status.step), False
        else:
            moved = status.step > reached
        if moved and to_first_step_s is None:
            to_first_step_s = time.monotonic() - began
        return (moved and status.step > reached) or status.state in DONE | RESTARTED

    with ThreadPoolExecutor(1) as beside:
        fault = beside.submit(FAULTS[name], scene)
        recovered = wait_for(as_far_again, RECOVER_S) is not None
        lost_s = time.monotonic() - began
        fault.result()
    return Injection(
        fault=name,
        recovered=recovered and watch.status.state not in RESTARTED,
        to_first_step_s=lost_s if to_first_step_s is None else to_first_step_s,
        lost_s=lost_s,
        lost_steps=0 if from_step is None else max(0, reached - from_step),
    )


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
