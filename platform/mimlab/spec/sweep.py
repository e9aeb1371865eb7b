"""`sweep:` of a study: what varies, and how points are chosen."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Discriminator, Field, Tag, model_validator

from mimlab.spec.section import Section, at_field

Scalar = str | int | float | bool | None


class Range(Section):
    """A continuous axis, for `search: {name: random}`."""

    low: float = Field(allow_inf_nan=False)
    """Smallest value."""
    high: float = Field(allow_inf_nan=False)
    """Largest value."""
    log: bool = False
    """Draw the logarithm uniformly instead of the value."""

    @model_validator(mode="after")
    def _ordered(self) -> Range:
        if not self.low < self.high:
            raise at_field("high", f"{self.high:g} must be above low, which is {self.low:g}")
        if self.log and self.low <= 0:
            raise at_field("low", f"{self.low:g} has no logarithm; it must be above 0")
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


class Asha(Section):
    """Asynchronous successive halving (Li et al. 2020, arXiv:1810.05934)."""

    name: Literal["asha"]
    """`asha` stops trials that are behind at the same epoch."""
    metric: str
    """Metric key that ranks trials, e.g. `probe/knn/top1`."""
    mode: Literal["max", "min"] = "max"
    """Whether a large value is good."""
    grace_epochs: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    """Epochs before a trial can be stopped."""
    reduction_factor: float = Field(default=3.0, gt=1, allow_inf_nan=False)
    """One of so many trials goes on at each rung."""


def _distinct(seeds: tuple[int, ...]) -> tuple[int, ...]:
    for seed in seeds:
        if seeds.count(seed) > 1:
            raise ValueError(f"seed {seed} is listed twice")
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
    search: Annotated[GridSearch | RandomSearch, Field(discriminator="name")] = GridSearch()
    """How points are chosen."""
    stopping: Asha | None = None
    """Whether trials that are behind stop early."""
