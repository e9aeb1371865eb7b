"""At which budget trials are compared: what they spent, and where that is equal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mimlab.compare.trials import TrialResult

TOLERANCE = 0.01
"""Time is never equal to the millisecond: below 1 % it counts as equal, and so do tokens of
strategies whose counts are exact only on average. Images and steps must be equal."""

TOKENS = "visible tokens"
HOURS = {"gpu_hours": "GPU-hours", "cpu_hours": "CPU-hours"}
"""Budgets that steps were measured for. What was spent is told besides: it never equals them."""


@dataclass(frozen=True)
class Spent:
    """One quantity over the finished trials."""

    what: str
    low: float
    high: float
    tolerance: float

    @property
    def equal(self) -> bool:
        return self.high - self.low <= self.tolerance * self.high


@dataclass(frozen=True)
class TimeUnit:
    """In what training time is told."""

    name: str
    """e.g. `CPU hours`."""
    per_device: bool
    """Whether it is device time, not wall-clock."""
    seconds: float

    def of(self, trial: TrialResult, seconds: float) -> float:
        """Training time of a trial in this unit."""
        count = trial.devices.count if self.per_device and trial.devices else 1.0
        return seconds * count / self.seconds


def time_unit(trials: Sequence[TrialResult]) -> TimeUnit:
    """GPU or CPU time if all trials ran on one kind, else wall-clock; minutes if all are short."""
    kinds = {trial.devices.kind if trial.devices else None for trial in trials}
    kind = next(iter(kinds)) if len(kinds) == 1 else None
    word = f"{kind} " if kind else "training "
    hours = TimeUnit(f"{word}hours", kind is not None, 3600.0)
    longest = max((hours.of(t, float(t.progress.seconds[-1])) for t in trials), default=0.0)
    return hours if longest >= 1 else TimeUnit(f"{word}minutes", hours.per_device, 60.0)


def spent(trials: Sequence[TrialResult]) -> list[Spent]:
    """Images, visible tokens and time of the finished trials; [] where none has finished."""
    done = [trial for trial in trials if trial.finished and trial.progress.started]
    if not done:
        return []
    unit = time_unit(done)

    def over(what: str, read: Callable[[TrialResult], float], tolerance: float) -> Spent:
        values = [read(trial) for trial in done]
        return Spent(what, min(values), max(values), tolerance)

    return [
        over("images", lambda t: float(t.progress.images[-1]), 0.0),
        over(TOKENS, lambda t: float(t.progress.tokens[-1]), TOLERANCE),
        over(unit.name, lambda t: unit.of(t, float(t.progress.seconds[-1])), TOLERANCE),
    ]


def budget_words(trials: Sequence[TrialResult]) -> str:
    """At which budget the finished trials are compared, and what differs."""
    found = spent(trials)
    if not found:
        return "No trial has finished: nothing is compared at an equal budget yet."
    if sum(trial.finished for trial in trials) == 1:
        return "One trial has finished: there is nothing to compare it with."
    asked = _frozen_alike(trials)
    equal = [
        f"{one.what} ({_amount(one.high)} each)"
        if one.equal
        else f"{one.what} ({_amount(one.low)} to {_amount(one.high)}: the same but for whole steps)"
        for one in found
        if _is_equal(one, asked)
    ]
    if asked and asked[0] in HOURS:
        equal.insert(0, f"{HOURS[asked[0]]} ({asked[1]:g} asked of each, frozen to steps)")
    differing = [
        f"{one.what} ({_amount(one.low)} to {_amount(one.high)})"
        for one in found
        if not _is_equal(one, asked)
    ]
    first = f"equal {' and '.join(equal)}" if equal else "no equal budget"
    words = f"Finished trials are compared at {first}."
    return f"{words} What differs: {', '.join(differing)}." if differing else words


def compared_at(trials: Sequence[TrialResult]) -> str:
    """The same in a word or two, e.g. `equal images`; empty where there is nothing to compare."""
    found = spent(trials)
    if sum(trial.finished for trial in trials) < 2 or not found:
        return ""
    asked = _frozen_alike(trials)
    equal = [HOURS[asked[0]]] if asked and asked[0] in HOURS else []
    equal += [one.what for one in found[:2] if _is_equal(one, asked)]
    return f"equal {' and '.join(equal)}" if equal else "no equal budget"


def _frozen_alike(trials: Sequence[TrialResult]) -> tuple[str, float] | None:
    """The budget in tokens or hours that all finished trials were given; None if they were not."""
    found = {trial.budget for trial in trials if trial.finished}
    asked = next(iter(found)) if len(found) == 1 else None
    return asked if asked and asked[0] in {"visible_tokens", *HOURS} else None


def _is_equal(one: Spent, asked: tuple[str, float] | None) -> bool:
    """Whole steps of a budget in tokens overshoot it by less than one of them."""
    return one.equal or (asked is not None and asked[0] == "visible_tokens" and one.what == TOKENS)


def _amount(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"
