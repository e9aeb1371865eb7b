"""`low_shot`: logistic regression on frozen features of a fraction of the labels."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from mimlab.probe.base import PooledProbe, Result
from mimlab.probe.given import Given
from mimlab.probe.labels import label_of
from mimlab_objectives.probes import low_shot


class LowShotProbe(PooledProbe):
    """Logistic regression on frozen features of a few labels for each class, over several draws."""

    protocol: ClassVar[str] = low_shot.PROTOCOL

    name: Literal["low_shot"]
    """`low_shot` classifies by a fraction of the labels; a study may have one for each fraction."""
    fraction: float = Field(gt=0, le=0.5)
    """Share of the labels, equally many of each class and at least one: 0.01, 0.1."""
    seeds: int = Field(default=3, ge=1)
    """Draws, whose scores are averaged."""

    @property
    def label(self) -> str:
        return label_of("low_shot", self.fraction)

    def evaluate(self, given: Given) -> Result:
        features, num_classes = given.features[self.pool], given.source.num_classes
        scores = low_shot.low_shot(
            features.fit,
            features.fit_labels,
            features.fit_ids,
            features.test,
            features.test_labels,
            num_classes=num_classes,
            fraction=self.fraction,
            seeds=self.seeds,
        )
        return Result(scores, int(scores["shots"]) * num_classes, len(features.test))
