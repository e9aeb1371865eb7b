"""`sweep:` of a study: what varies, and how points are chosen."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Discriminator, Field, Tag, model_validator

from mimlab.spec.section import Section, at_field

Scalar = str | int | float | bool | None


class Range(Section):
    """An axis between two numbers, for `search: {name: random}` or `{name: optuna}`."""

    low: float = Field(allow_inf_nan=False)
    """Smallest value."""
    high: float = Field(allow_inf_nan=False)
    """Largest value."""
    log: bool = False
    """Draw the logarithm uniformly instead of the value."""
    integer: bool = False
    """Whole numbers only, both ends included."""

    @model_validator(mode="after")
    def _ordered(self) -> Range:
        if not self.low < self.high:
            raise at_field("high", f"{self.high:g} must be above low, which is {self.low:g}")
        if self.log and self.low <= 0:
            raise at_field("low", f"{self.low:g} has no logarithm; it must be above 0")
        for field, end in (("low", self.low), ("high", self.high)):
            if self.integer and end != int(end):
                raise at_field(field, f"{end:g} is no whole number, and `integer` asks for one")
        return self


def _kind_of_axis(value: Any) -> str:
    return "range" if isinstance(value, dict | Range) else "list"


Values = Annotated[list[Any], Field(min_length=1)]
Axis = Annotated[
    Annotated[Values, Tag("list")] | Annotated[Range, Tag("range")], Discriminator(_kind_of_axis)
]
Axes = dict[str, Axis]


class When(Section):
    """Axes that exist only where a condition holds."""

    condition: dict[str, Any] = Field(alias="if", min_length=1)
    """Paths and the value, or list of values, that each must have."""
    axes: Axes = Field(min_length=1)
    """Axes of the points where it holds."""


class GridSearch(Section):
    """Every point."""

    name: Literal["grid"] = "grid"
    """`grid` runs every point."""


class RandomSearch(Section):
    """Points drawn at random, the same ones for the same seed."""

    name: Literal["random"]
    """`random` draws points."""
    num_trials: int = Field(ge=1)
    """Points drawn; each runs with every seed."""
    seed: int = Field(default=0, ge=0)
    """Of the draw."""


class OptunaSearch(Section):
    """Points chosen by what earlier ones came to: a tree-structured Parzen estimator.

    TPE is Bergstra et al. 2011, "Algorithms for Hyper-Parameter Optimization"; axes are modelled
    together, those of a `when` where they exist, as in Optuna (Akiba et al. 2019,
    arXiv:1907.10902).
    """

    name: Literal["optuna"]
    """`optuna` learns from the trials that have ended."""
    num_trials: int = Field(ge=1)
    """Points tried; each runs with every seed, and counts by the mean over the seeds."""
    metric: str
    """Metric key that the search improves: a probe's, e.g. `probe/knn/top1`; its last value."""
    mode: Literal["max", "min"] = "max"
    """Whether a large value is good."""
    startup_trials: int = Field(default=10, ge=1)
    """Points drawn at random before the search learns; 10, as in Optuna's TPESampler."""
    seed: int = Field(default=0, ge=0)
    """Of the search."""


class Stopping(Section):
    """What every rule of early stopping has."""

    metric: str
    """Metric key that ranks trials, e.g. `probe/knn/top1`."""
    mode: Literal["max", "min"] = "max"
    """Whether a large value is good."""
    grace_epochs: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    """Epochs before a trial can be stopped."""


class Asha(Stopping):
    """Asynchronous successive halving (Li et al. 2020, arXiv:1810.05934)."""

    name: Literal["asha"]
    """`asha` stops trials that are behind at the same epoch."""
    reduction_factor: float = Field(default=3.0, gt=1, allow_inf_nan=False)
    """One of so many trials goes on at each rung."""


class Median(Stopping):
    """The median stopping rule (Golovin et al. 2017, "Google Vizier", KDD, section 3.2.2)."""

    name: Literal["median"]
    """`median` stops trials whose best value is below the median of the others' running means."""
    min_trials: int = Field(default=3, ge=1)
    """Other trials that must have come as far; 3, as in Ray Tune."""


def _distinct(seeds: tuple[int, ...]) -> tuple[int, ...]:
    known = set[int]()
    for seed in seeds:
        if seed in known:
            raise ValueError(f"seed {seed} is listed twice")
        known.add(seed)
    return seeds


Seeds = Annotated[
    tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1), AfterValidator(_distinct)
]


class SweepConfig(Section):
    """The axes of a study. Paths are dotted, e.g. `masking.ratio`."""

    axes: Axes = Field(default_factory=dict)
    """Paths of the base and the values that each takes; axes multiply."""
    zip: tuple[tuple[str, ...], ...] = ()
    """Groups of axes that vary together, value by value."""
    when: tuple[When, ...] = ()
    """Axes that exist only where a condition holds."""
    exclude: tuple[Annotated[dict[str, Any], Field(min_length=1)], ...] = ()
    """Points that are left out: all those that have these values."""
    seeds: Seeds = (0,)
    """Each point runs with each seed."""
    search: Annotated[GridSearch | RandomSearch | OptunaSearch, Field(discriminator="name")] = (
        GridSearch()
    )
    """How points are chosen."""
    stopping: Annotated[Asha | Median, Field(discriminator="name")] | None = None
    """Whether trials that are behind stop early."""
