"""`probes:` of a study: which evaluations of the encoder run, and when."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from mimlab.probe.base import Probe
from mimlab.probe.kinds.attentive import AttentiveProbe
from mimlab.probe.kinds.finetune import FinetuneProbe
from mimlab.probe.kinds.knn import KnnProbe
from mimlab.probe.kinds.linear import LinearProbe
from mimlab.probe.kinds.low_shot import LowShotProbe
from mimlab.probe.kinds.segmentation import SegmentationProbe
from mimlab.probe.labels import metric_key
from mimlab.spec.section import Section


class CollapseWatch(Section):
    """Floors below which features count as collapsed; judged at each probe of pooled features."""

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


ProbeConfig = Annotated[
    AttentiveProbe
    | FinetuneProbe
    | KnnProbe
    | LinearProbe
    | LowShotProbe
    | SegmentationProbe,  # a new kind is one file of `kinds`, and one line here
    Field(discriminator="name"),
]


def metric_of(probe: Probe) -> str:
    """The metric key that ranks trials by this probe."""
    return metric_key(probe.label)


def named_once(probes: tuple[ProbeConfig, ...]) -> tuple[ProbeConfig, ...]:
    """Raises ValueError for two probes of one label: they would write the same metric keys."""
    labels = [probe.label for probe in probes]
    for label in labels:
        if labels.count(label) > 1:
            raise ValueError(f"{label} is listed twice; both would write {metric_key(label)}")
    return probes
