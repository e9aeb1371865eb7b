"""What a probe is given: an encoder, labelled images, and features that probes share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float, Int
from timm.models import VisionTransformer
from torch import Tensor

from mimlab.data.augment import AugmentConfig
from mimlab.data.manifest import DataSet, Split
from mimlab.probe.images import LabelledImages, chosen_rows, part_of
from mimlab_objectives.probes.schedule import Tell
from mimlab_objectives.probes.spread import spread


@dataclass(frozen=True)
class ProbeData:
    """Where probes read."""

    data: DataSet
    fit: Split
    test: Split
    image_size: int
    augment: AugmentConfig
    """Views of the images that a probe trains on, unless it says otherwise."""
    sidecars: Mapping[str, str]
    """Where what lies beside the images is, by name."""

    @property
    def num_classes(self) -> int:
        return len(self.data.classes)


@dataclass(frozen=True)
class Features:
    """Pooled features, labels and ids of the two splits of a probe."""

    fit: Float[Tensor, "fit dim"]
    fit_labels: Int[Tensor, " fit"]
    fit_ids: Int[np.ndarray, " fit"]
    test: Float[Tensor, "test dim"]
    test_labels: Int[Tensor, " test"]

    @cached_property
    def spread(self) -> dict[str, float]:
        """Of the test features; probes that pool alike share it."""
        return spread(self.test)


@dataclass(frozen=True)
class Given:
    """Everything that a probe may read."""

    source: ProbeData
    encoder: VisionTransformer | None
    """Frozen, in evaluation mode, on the device; None: the raw pixels."""
    features: Mapping[str, Features]
    """By pooling: those that the probe asked for."""
    device: torch.device
    threads: int
    """That decode images."""
    tell: Tell
    """Takes the progress of a long probe."""

    def fit_images(self, max_fit: int | None) -> LabelledImages:
        """The images to fit on: all, or the same `max_fit` of them for every trial."""
        split = self.source.fit
        return self.images(part_of(split, chosen_rows(split, max_fit)))

    def test_images(self) -> LabelledImages:
        """All images to test."""
        return self.images(self.source.test)

    def images(self, split: Split) -> LabelledImages:
        """The images of a part of either split."""
        return LabelledImages(split, self.source.image_size, self.device, self.threads)
