"""`probes:` of a study: which evaluations of the frozen encoder run, and when."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from mimlab.spec.section import Section, at_field


class Probe(Section):
    """What every probe has."""

    every_epochs: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    """Epochs between two evaluations; null evaluates only at the end."""
    at: Literal["end"] | None = None
    """`end` evaluates the finished encoder, which `every_epochs` does besides."""
    pool: Literal["mean", "cls"] = "mean"
    """Feature of an image: the mean of its patch tokens, or its class token."""
    max_fit: int | None = Field(default=None, ge=1)
    """Most images of the `probe_fit` split that are used; null uses all."""

    @model_validator(mode="after")
    def _runs(self) -> Probe:
        if self.every_epochs is None and self.at is None:
            raise ValueError("never runs; give `every_epochs: <number>`, `at: end`, or both")
        return self


class KnnProbe(Probe):
    """Weighted nearest neighbours (Wu et al. 2018, arXiv:1805.01978)."""

    name: Literal["knn"]
    """`knn` votes among nearest neighbours."""
    k: int = Field(default=20, ge=1)
    """Neighbours that vote. 20, as in facebookresearch/dino, eval_knn.py."""
    temperature: float = Field(default=0.07, gt=0, allow_inf_nan=False)
    """A neighbour's weight is exp(similarity ÷ temperature)."""

    @model_validator(mode="after")
    def _enough_neighbours(self) -> KnnProbe:
        if self.max_fit is not None and self.k > self.max_fit:
            raise at_field("k", f"asks for {self.k} neighbours among max_fit {self.max_fit} images")
        return self


class LinearProbe(Probe):
    """A linear classifier on frozen features; its learning rate is chosen on held-out images."""

    name: Literal["linear"]
    """`linear` trains a linear classifier."""
    epochs: int = Field(default=100, ge=1)
    """Passes over the features."""


class CollapseWatch(Section):
    """Floors below which features count as collapsed; judged at each probe."""

    min_feature_std: float = Field(default=0.05, ge=0, le=1)
    """Floor of `feature_std`: 1 is spread over all directions, 0 is one direction for all images.
    An untrained small transformer has 0.16 to 0.54."""
    min_effective_rank: float = Field(default=2.0, ge=1, allow_inf_nan=False)
    """Floor of `effective_rank` (RankMe). An untrained small transformer has 10 to 21."""
    stop: bool = False
    """End a trial whose features have collapsed, instead of only flagging it."""

    def judge(self, scores: dict[str, float]) -> str:
        """What of `spread`'s measures is below its floor, in words; empty if nothing is."""
        floors = {
            "feature_std": self.min_feature_std,
            "effective_rank": self.min_effective_rank,
        }
        below = [
            f"{name} {scores[name]:.3g} below {floor:g}"
            for name, floor in floors.items()
            if not scores[name] >= floor
        ]
        return ", ".join(below)


ProbeConfig = Annotated[KnnProbe | LinearProbe, Field(discriminator="name")]


def metric_of(probe: KnnProbe | LinearProbe) -> str:
    """The metric key that ranks trials by this probe."""
    return f"probe/{probe.name}/top1"


def named_once(
    probes: tuple[KnnProbe | LinearProbe, ...],
) -> tuple[KnnProbe | LinearProbe, ...]:
    """Raises ValueError for two probes of one name: they would write the same metric keys."""
    names = [probe.name for probe in probes]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"{name} is listed twice; both would write probe/{name}/top1")
    return probes
