"""What may go, whatever a trial has saved: never what something still needs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from mimlab.retention.rules import Saved, TrialSnapshot, Turn, over_budget, verdicts
from mimlab.retention.snapshot import milestones_of
from mimlab.spec.sweep import Asha
from mimlab.storage.records import DONE, TrialState

STATES: tuple[TrialState, ...] = (
    "pending",
    "running",
    "probing",
    "stopped",
    "preempted",
    "failed",
    "diverged",
    "finished",
    "pruned",
)
STEPS = st.frozensets(st.integers(1, 30), max_size=6)


SAVED = st.dictionaries(st.integers(1, 30), st.integers(1, 99), max_size=6)
"""Step → bytes."""
RAW = st.fixed_dictionaries(
    {
        "state": st.sampled_from(STATES),
        "checkpoints": SAVED,
        "exports": SAVED,
        "besides": st.integers(0, 9),
        "best": STEPS,
        "rungs": STEPS,
        "unprobed": st.none() | STEPS,
        "forked": st.booleans(),
    }
)
"""What a snapshot is made of."""


def snapshot(raw: dict[str, Any], name: str = "trial") -> TrialSnapshot:
    """Not made by a strategy: types are checked by chance, and a strategy must not draw from it."""
    raw = dict(raw)
    saved = {
        kind: tuple(Saved(step, size) for step, size in sorted(raw.pop(kind).items()))
        for kind in ("checkpoints", "exports")
    }
    sizes = [one.num_bytes for kind in saved.values() for one in kind]
    return TrialSnapshot(id=name, num_bytes=sum(sizes) + raw.pop("besides"), **saved, **raw)


def going(trial: TrialSnapshot, kind: str) -> set[int]:
    return {v.saved.step for v in verdicts(trial) if v.kind == kind and v.turn is not None}


@given(raw=RAW)
def test_what_a_resume_a_fork_or_a_probe_needs_never_goes(raw: dict[str, Any]) -> None:
    trial = snapshot(raw)
    checkpoints, exports = going(trial, "checkpoints"), going(trial, "exports")
    last = {trial.checkpoints[-1].step} if trial.checkpoints else set()
    if trial.forked:
        assert not checkpoints
    if trial.state != "pruned":
        assert not checkpoints & last
    if trial.state not in DONE or trial.unprobed is None:
        assert not exports
    assert not exports & (trial.best | trial.rungs | (trial.unprobed or set()))
    assert not exports & {s.step for s in trial.exports[-1:]}
    if checkpoints & last:
        assert trial.exports


@given(raw=RAW)
def test_everything_that_is_saved_is_judged_once_and_with_a_reason(raw: dict[str, Any]) -> None:
    trial = snapshot(raw)
    found = verdicts(trial)
    judged = [(v.kind, v.saved) for v in found]
    expected = [("checkpoints", s) for s in trial.checkpoints]
    assert judged == expected + [("exports", s) for s in trial.exports]
    assert all(v.why for v in found)


@given(raw=st.lists(RAW, max_size=4), limit=st.integers(0, 2000))
def test_a_budget_takes_as_little_as_it_must(raw: list[dict[str, Any]], limit: int) -> None:
    trials = [snapshot(one, str(i)) for i, one in enumerate(raw)]
    chosen = over_budget(trials, limit)
    total = sum(trial.num_bytes for trial in trials)
    freed = sum(v.saved.num_bytes for v in chosen)
    everything = [v for trial in trials for v in verdicts(trial) if v.turn is not None]
    assert total - freed <= limit or len(chosen) == len(everything)
    if not chosen:
        return
    assert total - (freed - chosen[-1].saved.num_bytes) > limit
    assert [v.order for v in chosen] == sorted(v.order for v in chosen)
    assert all(v.order >= chosen[-1].order for v in everything if v not in chosen)


def trial_in(state: TrialState, **more: object) -> TrialSnapshot:
    three = tuple(Saved(step, 10) for step in (5, 10, 15))
    return replace(TrialSnapshot(state, state, three, three, 70), **more)


def test_the_order_is_ended_then_open_then_pruned_then_encoders_between() -> None:
    trials = [trial_in(state, best=frozenset({5})) for state in ("running", "pruned", "finished")]
    chosen = [(v.trial, v.kind, v.saved.step, v.turn) for v in over_budget(trials, 0)]
    assert chosen == [
        ("finished", "checkpoints", 10, Turn.OLD_OF_ENDED),
        ("pruned", "checkpoints", 10, Turn.OLD_OF_ENDED),
        ("finished", "checkpoints", 5, Turn.OLD_OF_ENDED),  # a best one, after the others
        ("pruned", "checkpoints", 5, Turn.OLD_OF_ENDED),
        ("running", "checkpoints", 10, Turn.OLD_OF_OPEN),
        ("running", "checkpoints", 5, Turn.OLD_OF_OPEN),
        ("pruned", "checkpoints", 15, Turn.LAST_OF_PRUNED),
        ("finished", "exports", 10, Turn.EXPORT_BETWEEN),
        ("pruned", "exports", 10, Turn.EXPORT_BETWEEN),
    ]


def test_within_the_budget_nothing_goes() -> None:
    assert over_budget([trial_in("finished")], 70) == []


def test_rungs_are_those_of_successive_halving() -> None:
    asha = Asha(name="asha", metric="probe/knn/top1", grace_epochs=2.0, reduction_factor=3.0)
    assert milestones_of(asha, 60.0) == [2.0, 6.0, 18.0, 54.0]
    assert milestones_of(asha, 1.0) == []
    assert milestones_of(None, 60.0) == []
