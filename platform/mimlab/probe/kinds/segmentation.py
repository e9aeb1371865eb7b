"""`segmentation`: a linear classifier of frozen patch tokens, scored on pixels."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Literal

import torch
from pydantic import Field
from timm.models import VisionTransformer

from mimlab.data.manifest import Split
from mimlab.data.map_views import map_views
from mimlab.data.sidecar import Sidecar
from mimlab.probe.base import Baseline, Probe, Result
from mimlab.probe.given import Given
from mimlab.probe.images import chosen_rows, part_of
from mimlab.probe.segmented import SegmentedImages
from mimlab.probe.tokens import half_tokens
from mimlab_objectives.probes import segmentation

LABEL_MAPS = "segmentation"


class SegmentationProbe(Probe):
    """One linear layer from each patch token to classes, upsampled to the pixels of a label map.

    The label maps are those of the sidecar `segmentation` in `data.sidecars`.
    """

    protocol: ClassVar[str] = segmentation.PROTOCOL
    baselines: ClassVar[tuple[Baseline, ...]] = ("random-init",)
    label_maps: ClassVar[str | None] = LABEL_MAPS

    name: Literal["segmentation"]
    """`segmentation` classifies pixels by their patch tokens."""
    epochs: int = Field(default=40, ge=1)
    """Passes over the images to fit on."""
    max_fit: int | None = Field(default=2000, ge=1)
    """Most images of the `probe_fit` split that are used; null uses all. Their tokens are held in
    memory: 2,000 images of 196 tokens of 384 channels take 400 MB with their labels."""

    @property
    def training_epochs(self) -> int | None:
        return self.epochs

    def evaluate(self, given: Given) -> Result:
        source, encoder = given.source, given.encoder
        assert encoder is not None  # `baselines` has no raw pixels
        maps = Sidecar.open(source.sidecars[LABEL_MAPS], source.data)
        fit = part_of(source.fit, chosen_rows(source.fit, self.max_fit))
        tokens, labels = _joined(_encoded(encoder, _images(given, maps, fit)))
        tested = _Counted(_encoded(encoder, _images(given, maps, source.test)))
        assert maps.manifest.num_classes is not None  # a study with other maps is refused
        scores = segmentation.segmentation_probe(
            tokens,
            labels,
            tested,
            num_classes=maps.manifest.num_classes,
            seed=0,
            epochs=self.epochs,
            device=given.device,
            tell=given.tell,
        )
        return Result(scores, len(tokens), tested.count)

    def bounded(self, *, max_fit: int, epochs: int) -> Probe:
        fewer = super().bounded(max_fit=max_fit, epochs=epochs)
        return fewer.model_copy(update={"epochs": min(self.epochs, epochs)})


class _Counted:
    """Batches, and how many images they had so far."""

    def __init__(self, batches: Iterator[segmentation.LabelledTokens]) -> None:
        self._batches = batches
        self.count = 0

    def __iter__(self) -> Iterator[segmentation.LabelledTokens]:
        for tokens, labels in self._batches:
            self.count += len(tokens)
            yield tokens, labels


def _images(given: Given, maps: Sidecar, split: Split) -> SegmentedImages:
    size = given.source.image_size
    (labels,) = map_views({LABEL_MAPS: maps}, patch_size=size)
    return SegmentedImages(split, labels, size, given.device, given.threads)


def _encoded(
    encoder: VisionTransformer, images: SegmentedImages
) -> Iterator[segmentation.LabelledTokens]:
    for pixels, labels in images.in_order():
        yield half_tokens(encoder, pixels), labels


def _joined(batches: Iterator[segmentation.LabelledTokens]) -> segmentation.LabelledTokens:
    """In the host's memory. Raises ValueError where there is nothing."""
    parts = [(tokens.cpu(), labels) for tokens, labels in batches]
    if not parts:
        raise ValueError("no image to fit on has a pixel with a class")
    tokens, labels = zip(*parts, strict=True)
    return torch.cat(tokens), torch.cat(labels)
