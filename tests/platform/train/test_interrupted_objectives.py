"""One objective of each family, interrupted at the moments at which something could be lost."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from objective_cases import CASES

from mimlab.probe.due import due_steps
from mimlab.probe.scheduler import ProbeScheduler
from mimlab.probe.task import ProbeOrder
from mimlab.storage.folders import TrialFolder
from mimlab.storage.journal import read_points
from mimlab.train.checkpoint import newest_checkpoint
from mimlab.train.reporter import VOLATILE_KEYS
from mimlab.train.session import Session
from mimlab.train.stepper import Stepper

pytestmark = pytest.mark.slow

FAMILIES = {
    "visible patches only": "mae",
    "full sequence": "simmim",
    "teacher": "ijepa",
    "teacher of the whole sequence": "data2vec",
    "online clustering": "capi",
    "two streams": "mapet",
    "loss-guided masking": "hpm",
    "labels": "supervised_mim",
}
# An epoch has 14.4 steps; checkpoints come every 2.9: after 3, 6, 9, 12, 15 and 18.
STEPS = 18
SETTINGS = (
    f"train.budget={{steps: {STEPS}}}",
    "train.warmup_epochs=0.5",
    "train.log_every=4",
    "train.checkpoint={every_epochs: 0.2, keep_last: 9}",
    "probes=[]",
)
MOMENTS = {
    "before the first checkpoint": 1,
    "in the warm-up": 4,
    "exactly at a checkpoint": 9,
    "in the middle of an epoch": 11,
    "one step after a checkpoint": 13,
    "where an epoch ends": 14,
}
"""Moment → the step that is not done any more."""
PATIENCE_S = 300.0

Build = Callable[..., Session]


class Result(NamedTuple):
    """What a trial has come to: its whole last state, and its curves."""

    state: dict[str, Any]
    curve: list[tuple[int, int, dict[str, float]]]


def result_of(trial: TrialFolder) -> Result:
    found = newest_checkpoint(trial, on_unusable=lambda step: pytest.fail(f"step {step}"))
    assert found is not None and found[1].step == STEPS
    assert found[1].differs == [] and trial.status().differs == []
    points = read_points(trial.store, trial.file("journal"))
    curve = [
        (p.seq, p.step, {k: v for k, v in p.metrics.items() if k not in VOLATILE_KEYS})
        for p in points
    ]
    return Result(vars(found[0]), curve)


def assert_identical(one: object, other: object, where: str = "state") -> None:
    """Bit for bit, containers and all."""
    if isinstance(one, torch.Tensor):
        assert isinstance(other, torch.Tensor) and torch.equal(one, other), where
    elif isinstance(one, dict):
        assert isinstance(other, dict) and one.keys() == other.keys(), where
        for key, value in one.items():
            assert_identical(value, other[key], f"{where}.{key}")
    elif isinstance(one, list | tuple):
        assert isinstance(other, list | tuple) and len(one) == len(other), where
        for number, pair in enumerate(zip(one, other, strict=True)):
            assert_identical(*pair, f"{where}.{number}")
    else:
        assert one == other, where


@pytest.fixture(scope="module")
def undisturbed(
    tmp_path_factory: pytest.TempPathFactory, sessions_in: Callable[[Path], Build]
) -> Callable[[str], Result]:
    """What each objective comes to without any misfortune; trained once."""

    @cache
    def train(name: str) -> Result:
        session = sessions_in(tmp_path_factory.mktemp(name))(*CASES[name], *SETTINGS)
        assert session.run().state == "finished"
        return result_of(session.trial)

    return train


def break_off(session: Session, step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Train until `step` would be done; what was saved by then is there."""
    whole = Stepper.step

    def dies(self: Stepper, batch: Any, plan: Any, progress: Any, **rest: Any) -> Any:
        if progress.step == step:
            raise OSError("the machine is gone")
        return whole(self, batch, plan, progress, **rest)

    with monkeypatch.context() as patched:
        patched.setattr(Stepper, "step", dies)
        with pytest.raises(OSError, match="the machine is gone"):
            session.run()


def resumed(trial: TrialFolder) -> list[dict[str, Any]]:
    lines = map(json.loads, trial.store.read(trial.file("log.jsonl")).splitlines())
    return [line for line in lines if line["event"] == "resumed"]


@pytest.mark.parametrize("name", FAMILIES.values(), ids=FAMILIES.keys())
def test_interruptions_change_no_bit(
    name: str,
    undisturbed: Callable[[str], Result],
    session_of: Build,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """At each of the moments, one after the other, in one trial."""
    expected = undisturbed(name)
    settings = (*CASES[name], *SETTINGS)
    for step in MOMENTS.values():
        break_off(session_of(*settings), step, monkeypatch)
    session = session_of(*settings)
    assert session.run().state == "finished"
    found = result_of(session.trial)
    assert_identical(found.state, expected.state)
    assert found.curve == expected.curve
    told = resumed(session.trial)
    saved = [max(s for s in range(0, STEPS, 3) if s <= step) for step in MOMENTS.values()]
    assert [line["step"] for line in told] == [step for step in saved if step]
    follows_a_signal = name == "hpm"
    for line in told:
        assert line["exact"] and line["masks_compared"] is not follows_a_signal


def test_an_interruption_while_a_probe_runs_changes_neither(
    session_of: Build, tmp_path: Path, sessions_in: Callable[[Path], Build], monkeypatch
) -> None:
    settings = (*SETTINGS[:-1], "probes=[{name: knn, every_epochs: 0.6}]")
    (other := tmp_path / "other").mkdir()
    calm = sessions_in(other)(*settings)
    assert calm.run().state == "finished"
    session = session_of(*settings)
    break_off(session, 11, monkeypatch)
    wait_until(lambda: bool(session.trial.steps("exports")))
    probes = probes_of(session)
    probes.poll()
    assert probes.busy  # with the encoder after 9 steps
    assert session_of(*settings).run().state == "finished"
    for scheduler in (probes, probes_of(calm)):
        wait_until(lambda ran=scheduler: scheduler_done(ran))
    assert_identical(result_of(session.trial).state, result_of(calm.trial).state)
    scores = [(p.step, p.metrics, p.error) for p in session.trial.probes()]
    assert [step for step, _, _ in scores] == [9, 18]
    assert scores == [(p.step, p.metrics, p.error) for p in calm.trial.probes()]


def probes_of(session: Session) -> ProbeScheduler:
    """What runs the probes of a trial beside its training."""
    spec, told = session.spec, session.config
    due = due_steps(
        spec.probes,
        num_images=session.split.num_rows,
        batch_size=spec.train.batch_size,
        total_steps=STEPS,
    )
    order = ProbeOrder(
        storage=told.storage, spec=told.spec, data=told.data, threads=1, use_gpu=False
    )
    return ProbeScheduler(session.trial, due, order, cpus=0.5)


def scheduler_done(scheduler: ProbeScheduler) -> bool:
    scheduler.poll()
    return not scheduler.busy


def wait_until(met: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not met():
        assert time.monotonic() < deadline
        time.sleep(0.1)
