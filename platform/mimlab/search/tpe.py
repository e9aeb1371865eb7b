"""Which point comes next: a tree-structured Parzen estimator over a study's space, by Optuna.

Bergstra et al. 2011, "Algorithms for Hyper-Parameter Optimization"; the axes of one condition are
modelled together (`multivariate`, `group`), as Falkner et al. 2018 (arXiv:1807.01774) found better.

A proposal is a pure function of the space, its seed and what came of the points before. Optuna's
study is made anew for each from that list, so there is no state to save, and whoever reads the same
list proposes the same point.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState

from mimlab.spec.points import Dimension, Number, Point
from mimlab.spec.space import Space
from mimlab.spec.sweep import OptunaSearch
from mimlab_objectives.keys import key_of

TPE_ATTEMPTS = 50
"""Points that the estimator may propose for one that is allowed; then chance does."""
RANDOM_ATTEMPTS = 500
"""Points that chance may propose; then the space is taken for exhausted."""

_STATES = {
    "finished": TrialState.COMPLETE,
    "pruned": TrialState.PRUNED,
    "failed": TrialState.FAIL,
    "running": TrialState.RUNNING,
}


@dataclass(frozen=True)
class Observation:
    """A point that was tried, and what came of it."""

    coordinates: Mapping[str, Number]
    """As `Space.coordinates` gives them."""
    state: Literal["finished", "pruned", "failed", "running"]
    """A failed point says nothing about its neighbours; a running one keeps others away."""
    value: float | None = None
    """The last value of the metric; None if there is none."""
    step: int = 0
    """Where a pruned point had it: of two that were pruned, the one that came further is better."""


def proposed(
    space: Space, past: Sequence[Observation], allowed: Callable[[Point], bool]
) -> Point | None:
    """The next point to try, given what came of those before; None if no other was found.

    A point that is not `allowed`, or that the study excludes, is told to the estimator as a bad
    one, and another is asked for.
    """
    seed = key_of("optuna", space.search.seed, len(past)) % 2**32
    study = _study(space, past, seed)
    for attempt in range(TPE_ATTEMPTS + RANDOM_ATTEMPTS):
        if attempt == TPE_ATTEMPTS:
            study.sampler = RandomSampler(seed=seed)
        trial = study.ask()
        point = space.chosen(lambda d, trial=trial: d.at(_suggested(trial, d)))
        if point is not None and allowed(point):
            return point
        study.tell(trial, state=TrialState.PRUNED)
    return None


def distribution_of(dimension: Dimension) -> BaseDistribution:
    """An axis as Optuna's: of a list, the number of the choice."""
    axis = dimension.range
    if axis is None:
        return CategoricalDistribution(range(len(dimension.choices)))
    if axis.integer:
        return IntDistribution(int(axis.low), int(axis.high), log=axis.log)
    return FloatDistribution(axis.low, axis.high, log=axis.log)


def _suggested(trial: optuna.Trial, dimension: Dimension) -> Number:
    axis = dimension.range
    if axis is None:
        return trial.suggest_categorical(dimension.name, range(len(dimension.choices)))
    if axis.integer:
        return trial.suggest_int(dimension.name, int(axis.low), int(axis.high), log=axis.log)
    return trial.suggest_float(dimension.name, axis.low, axis.high, log=axis.log)


def _study(space: Space, past: Sequence[Observation], seed: int) -> optuna.Study:
    """An Optuna study in memory that knows the past."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    search = space.search
    direction = "maximize" if search.mode == "max" else "minimize"
    study = optuna.create_study(direction=direction, sampler=_sampler(search, seed))
    distributions = {name: distribution_of(d) for name, d in space.dimensions.items()}
    for observation in past:
        study.add_trial(_frozen(observation, distributions))
    return study


def _sampler(search: OptunaSearch, seed: int) -> BaseSampler:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)  # of `group`, since Optuna 2.8
        return TPESampler(
            n_startup_trials=search.startup_trials,
            multivariate=True,
            group=True,
            constant_liar=True,
            seed=seed,
        )


def _frozen(observation: Observation, distributions: Mapping[str, BaseDistribution]) -> FrozenTrial:
    state, value = _STATES[observation.state], observation.value
    if value is None or not math.isfinite(value):
        value, state = None, TrialState.FAIL if state == TrialState.COMPLETE else state
    seen = {} if value is None or state != TrialState.PRUNED else {observation.step: value}
    return optuna.trial.create_trial(
        state=state,
        value=value if state == TrialState.COMPLETE else None,
        params=dict(observation.coordinates),
        distributions={name: distributions[name] for name in observation.coordinates},
        intermediate_values=seen,
    )
