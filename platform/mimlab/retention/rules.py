"""Which checkpoints and exports may go, and why the others stay: pure functions of snapshots."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Literal

from mimlab.storage.records import DONE, TrialState

Kind = Literal["checkpoints", "exports"]


@dataclass(frozen=True)
class Saved:
    """A committed checkpoint or export."""

    step: int
    num_bytes: int


@dataclass(frozen=True)
class TrialSnapshot:
    """What a trial has saved, and what bears on whether it is needed."""

    id: str
    state: TrialState
    checkpoints: tuple[Saved, ...]
    """By step, ascending; so are the exports."""
    exports: tuple[Saved, ...]
    num_bytes: int
    """Of everything in the trial's folder."""
    best: frozenset[int] = frozenset()
    """Steps with the best scores of the first probe."""
    rungs: frozenset[int] = frozenset()
    """Steps at which early stopping compared it with others."""
    unprobed: frozenset[int] | None = frozenset()
    """Steps whose export is to be probed; None: not known, so perhaps all."""
    forked: bool = False
    """Whether a trial that has not begun is going to start from one of its checkpoints."""


class Turn(IntEnum):
    """In which order files go; those up to `OLD_OF_OPEN` may go while a driver lives, too."""

    OLD_OF_ENDED = 1
    OLD_OF_OPEN = 2
    LAST_OF_PRUNED = 3
    EXPORT_BETWEEN = 4


@dataclass(frozen=True)
class Verdict:
    """On one checkpoint or export."""

    trial: str
    kind: Kind
    saved: Saved
    turn: Turn | None
    """None: it stays."""
    why: str
    best: bool
    """Best ones go after others of the same turn."""

    @property
    def order(self) -> tuple[int, bool, int, str]:
        return (self.turn or 0, self.best, self.saved.step, self.trial)


def verdicts(trial: TrialSnapshot) -> list[Verdict]:
    """On everything that a trial has saved, checkpoints first."""
    return [*_on_checkpoints(trial), *_on_exports(trial)]


def over_budget(trials: Sequence[TrialSnapshot], limit_bytes: int) -> list[Verdict]:
    """What to remove, in order, so that the trials take no more than the limit; or all that may
    go."""
    left = sum(trial.num_bytes for trial in trials) - limit_bytes
    found = (verdict for trial in trials for verdict in verdicts(trial))
    chosen = []
    for verdict in sorted((v for v in found if v.turn is not None), key=lambda v: v.order):
        if left <= 0:
            break
        chosen.append(verdict)
        left -= verdict.saved.num_bytes
    return chosen


def _on_checkpoints(trial: TrialSnapshot) -> Iterator[Verdict]:
    last = trial.checkpoints[-1].step if trial.checkpoints else None
    for saved in trial.checkpoints:
        turn, why = _on_checkpoint(trial, last=saved.step == last)
        yield Verdict(trial.id, "checkpoints", saved, turn, why, saved.step in trial.best)


def _on_checkpoint(trial: TrialSnapshot, *, last: bool) -> tuple[Turn | None, str]:
    ended = trial.state in DONE
    if trial.forked:
        return None, "a fork that has not begun starts from it"
    if not last:
        turn = Turn.OLD_OF_ENDED if ended else Turn.OLD_OF_OPEN
        return turn, f"older checkpoint of a trial that is {trial.state}"
    if not ended:
        return None, "a resume goes on from it"
    if trial.state == "finished":
        return None, "an extension or a fork goes on from it"
    if not trial.exports:
        return None, "the only weights of a pruned trial"
    return Turn.LAST_OF_PRUNED, "checkpoint of a pruned trial, whose encoder stays"


def _on_exports(trial: TrialSnapshot) -> Iterator[Verdict]:
    last = trial.exports[-1].step if trial.exports else None
    for saved in trial.exports:
        turn, why = _on_export(trial, saved.step, last=saved.step == last)
        yield Verdict(trial.id, "exports", saved, turn, why, saved.step in trial.best)


def _on_export(trial: TrialSnapshot, step: int, *, last: bool) -> tuple[Turn | None, str]:
    if trial.state not in DONE:
        return None, "encoder of a trial that goes on"
    if last:
        return None, "the last encoder"
    if trial.unprobed is None:
        return None, "its data cannot be read, so that a probe may be due"
    if step in trial.unprobed:
        return None, "a probe is due"
    if step in trial.best:
        return None, "a best encoder"
    if step in trial.rungs:
        return None, "encoder at a rung"
    return Turn.EXPORT_BETWEEN, "probed encoder, neither last nor best nor at a rung"
