"""`linear`: a linear classifier on frozen features."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from mimlab.probe.base import PooledProbe, Probe, Result
from mimlab.probe.given import Given
from mimlab_objectives.probes import linear


class LinearProbe(PooledProbe):
    """A linear classifier on frozen features; its learning rate is chosen on held-out images."""

    protocol: ClassVar[str] = linear.PROTOCOL

    name: Literal["linear"]
    """`linear` trains a linear classifier."""
    epochs: int = Field(default=100, ge=1)
    """Passes over the features."""

    def evaluate(self, given: Given) -> Result:
        features = given.features[self.pool]
        scores = linear.linear_probe(
            features.fit,
            features.fit_labels,
            features.test,
            features.test_labels,
            num_classes=given.source.num_classes,
            seed=0,
            epochs=self.epochs,
        )
        return Result(scores, len(features.fit), len(features.test))

    def bounded(self, *, max_fit: int, epochs: int) -> Probe:
        fewer = super().bounded(max_fit=max_fit, epochs=epochs)
        return fewer.model_copy(update={"epochs": min(self.epochs, epochs)})
