"""`knn`: weighted nearest neighbours."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from mimlab.probe.base import PooledProbe, Probe, Result
from mimlab.probe.given import Given
from mimlab.spec.section import at_field
from mimlab_objectives.probes import knn


class KnnProbe(PooledProbe):
    """Weighted nearest neighbours (Wu et al. 2018, arXiv:1805.01978)."""

    protocol: ClassVar[str] = knn.PROTOCOL

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

    def evaluate(self, given: Given) -> Result:
        features = given.features[self.pool]
        scores = knn.weighted_knn(
            features.fit,
            features.fit_labels,
            features.test,
            features.test_labels,
            num_classes=given.source.num_classes,
            k=self.k,
            temperature=self.temperature,
        )
        return Result(scores, len(features.fit), len(features.test))

    def bounded(self, *, max_fit: int, epochs: int) -> Probe:
        return super().bounded(max_fit=max(max_fit, self.k), epochs=epochs)
