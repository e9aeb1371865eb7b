"""What every kind of probe is: when it runs, what it reads, and how it is evaluated."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal

from pydantic import Field, model_validator

from mimlab.probe.given import Given
from mimlab.probe.labels import label_of
from mimlab.spec.section import Section
from mimlab_objectives.probes.features import Pooling

Baseline = Literal["random-init", "raw-pixels"]
"""What a trained encoder is compared with: an untrained one, or no encoder."""


@dataclass(frozen=True)
class Result:
    """What a probe measured."""

    scores: dict[str, float]
    """By short name: `top1`, …, accuracies as shares in [0, 1]."""
    num_fit: int
    """Labelled images that it was fitted on."""
    num_test: int


class Probe(Section):
    """What every probe has."""

    protocol: ClassVar[str]
    """Kind and version: results of two versions are not compared."""
    baselines: ClassVar[tuple[Baseline, ...]] = ("random-init", "raw-pixels")
    """Those that can be probed in the same way."""
    label_maps: ClassVar[str | None] = None
    """Name in `data.sidecars` of the label maps that it reads instead of the images' labels."""

    every_epochs: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    """Epochs between two evaluations; null evaluates only at the end."""
    at: Literal["end"] | None = None
    """`end` evaluates the finished encoder, which `every_epochs` does besides."""
    max_fit: int | None = Field(default=None, ge=1)
    """Most images of the `probe_fit` split that are used; null uses all."""

    @property
    def label(self) -> str:
        """Its name in metric keys and files."""
        return label_of(self.protocol.split("/")[0])

    @property
    def pools(self) -> tuple[Pooling, ...]:
        """The pooled features that it reads; probes that read the same ones share a pass."""
        return ()

    @property
    def pooling(self) -> Pooling | None:
        """How it makes one vector of an image; None where it does not."""
        return None

    @property
    def training_epochs(self) -> int | None:
        """Passes over the images that it trains for; None where its time lies elsewhere."""
        return None

    @abstractmethod
    def evaluate(self, given: Given) -> Result:
        """Run it. Raises ValueError where there are too few images."""

    def bounded(self, *, max_fit: int, epochs: int) -> Probe:
        """The same probe with at most so many fit images and epochs of its own."""
        del epochs
        return self.model_copy(update={"max_fit": min(self.max_fit or max_fit, max_fit)})

    @model_validator(mode="after")
    def _runs(self) -> Probe:
        if self.every_epochs is None and self.at is None:
            raise ValueError("never runs; give `every_epochs: <number>`, `at: end`, or both")
        return self


class PooledProbe(Probe):
    """A probe of one vector for each image."""

    pool: Pooling = "mean"
    """Feature of an image: the mean of its patch tokens, or its class token."""

    @property
    def pools(self) -> tuple[Pooling, ...]:
        return (self.pool,)

    @property
    def pooling(self) -> Pooling | None:
        return self.pool
