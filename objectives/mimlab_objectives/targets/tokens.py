"""Discrete codes of patches: by a tokenizer that is fitted before the first step, or stored."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from jaxtyping import Float, Int
from pydantic import Field, model_validator
from torch import Tensor

from mimlab_objectives.masking.plan import Grid
from mimlab_objectives.objectives.batch import Batch
from mimlab_objectives.registry import ParamsError
from mimlab_objectives.targets.base import Target, TargetKind, targets
from mimlab_objectives.targets.stored import (
    StorableParams,
    StorableTarget,
    StoredParams,
    resized_patches,
    stored_of,
)
from mimlab_objectives.teachers.weights import TeacherParams
from mimlab_objectives.tokenizers.base import EncodedKind
from mimlab_objectives.tokenizers.kmeans import FeatureKMeans, KMeansFeatureParams
from mimlab_objectives.tokenizers.kmeans_codebook import SEED, KMeansParams
from mimlab_objectives.tokenizers.kmeans_encoder import KMeansEncoder
from mimlab_objectives.tokenizers.kmeans_hog import HogKMeans, KMeansHogParams
from mimlab_objectives.tokenizers.kmeans_pixels import KMeansPixelParams, PixelKMeans
from mimlab_objectives.tokenizers.patches import PatchMeans

_IMAGES = 32
"""Images that features are taken of at once in `fit`."""


class TokenParams(StorableParams, KMeansParams):
    """What is clustered, and into how many codes; or what is read from a token store."""

    stored_kind: ClassVar[EncodedKind] = "codes"
    computed_by: ClassVar[tuple[str, ...]] = (
        "features",
        "teacher",
        "images",
        "iterations",
        "restarts",
        "points_per_code",
        "distance",
        "whiten",
    )

    restarts: int = Field(default=1, ge=1)
    """Runs of k-means, of which the best is kept; k-CLIP takes 5."""
    images: int = Field(default=2048, ge=1)
    """Images whose patches are clustered before the first step."""
    features: Literal["pixels", "hog"] | None = None
    """Of each patch; null: pixels, unless there is a teacher."""
    teacher: TeacherParams | None = None
    """A frozen network whose patch features are clustered instead."""

    @model_validator(mode="after")
    def _one_source(self) -> TokenParams:
        if self.teacher is not None and self.features is not None:
            raise ValueError("`features` has no effect beside a `teacher`: give one of them")
        return self

    def reading(self, stored: StoredParams) -> StorableParams:
        """The vocabulary is the store's. Raises ParamsError also where another one is given."""
        if "vocabulary" in self.model_fields_set and self.vocabulary != stored.width:
            raise ParamsError(
                "vocabulary",
                f"{self.vocabulary} codes are asked for, but data.tokens names a store of "
                f"{stored.label}, which has {stored.width}: leave it out, or name another store",
            )
        return super().reading(stored).model_copy(update={"vocabulary": stored.width})

    def shown_as(self, name: str) -> str:
        """Says which codes these are; computed ones are no codes of a published tokenizer."""
        if self.stored is not None:
            return f"{name}({self.stored.label})"
        source = self.teacher.label_with_layer if self.teacher else self.features or "pixels"
        return f"{name}({self.label_of(source)})"

    def tokenizer(self, patch_size: int, grid: Grid) -> KMeansEncoder:
        """What gives the codes, not fitted yet."""
        kmeans = {name: getattr(self, name) for name in KMeansParams.model_fields}
        if self.teacher is not None:
            return FeatureKMeans(KMeansFeatureParams(teacher=self.teacher, **kmeans), grid)
        if self.features == "hog":
            return HogKMeans(KMeansHogParams(patch_size=patch_size, **kmeans), grid)
        return PixelKMeans(KMeansPixelParams(patch_size=patch_size, **kmeans), grid)


@targets.register(
    "tokens", params=TokenParams, paper="Bao et al., 2022 (arXiv:2106.08254)", revision=2
)
class TokenTarget(Target, StorableTarget):
    """The nearest of `vocabulary` k-means codes to each patch's features.

    The arithmetic is that of the tokenizers whose codes are stored (`FeatureKMeans`, `PixelKMeans`,
    `HogKMeans`), and by default of k-CLIP; what is clustered is not: k-CLIP takes layer 4 of CLIP
    RN50x64 and 4.2 million patches of ImageNet. Hence such runs are shown as `tokens(kmeans-…)`.
    Codebook and mean patches are saved with the objective. With `stored` any tokenizer's codes are
    read (`data.tokens`), under its own label.

    Raises ParamsError if the images have fewer patches than there are codes, and as FrozenTeacher.
    """

    kind: ClassVar[TargetKind] = "classes"

    def __init__(self, params: TokenParams, patch_size: int, grid: Grid) -> None:
        super().__init__(params, patch_size, grid)
        self.params = params
        self.encoder: KMeansEncoder | None = None
        self.patches: Tensor
        if params.stored is not None:
            self.dim = params.stored.width
            self.register_buffer("patches", torch.zeros(self.dim, 3 * patch_size**2))
            return
        if params.images * grid[0] * grid[1] < params.vocabulary:
            raise ParamsError(
                "vocabulary",
                f"{params.vocabulary} codes need as many patches, and {params.images} images have "
                f"{params.images * grid[0] * grid[1]}: lower vocabulary or raise images",
            )
        self.fit_images, self.dim = params.images, params.vocabulary
        self.encoder = params.tokenizer(patch_size, grid)
        self.register_buffer("patches", torch.zeros(self.dim, 3 * patch_size**2))

    @torch.no_grad()
    def fit(self, images: Float[Tensor, "images 3 height width"]) -> None:
        """Cluster the points of all patches. Raises ParamsError if there are too few of them."""
        assert self.encoder is not None  # a store's pictures are learned from it
        points = torch.cat([self.encoder.points(part) for part in images.split(_IMAGES)])
        self.encoder.fit(points.flatten(0, 1), SEED)
        means = PatchMeans(self.dim, self.patch_size, device=images.device)
        for some, own in zip(images.split(_IMAGES), points.split(_IMAGES), strict=True):
            means.add(some, self.encoder.codes_of(own))
        self.patches.copy_(means.means())

    @torch.no_grad()
    def learn_pictures(self, known: Float[Tensor, "rows numbers"]) -> None:
        """Show each code by its mean patch, brought to the size of the patches here."""
        self.patches.copy_(resized_patches(known, self.patch_size))

    def of(self, batch: Batch) -> Int[Tensor, "batch tokens"]:
        """Those of the store, or computed ones; int64."""
        return stored_of(batch) if self.encoder is None else self.compute(batch.images)

    @torch.no_grad()
    def compute(self, images: Float[Tensor, "batch 3 height width"]) -> Int[Tensor, "batch tokens"]:
        """The code of every patch, int64."""
        assert self.encoder is not None  # those of a store come with the batch
        return self.encoder.encode(images)

    @torch.no_grad()
    def to_pixels(
        self,
        prediction: Float[Tensor, "batch rounds tokens target_dim"],
        images: Float[Tensor, "batch 3 height width"],  # noqa: ARG002
    ) -> Float[Tensor, "batch rounds tokens patch_dim"]:
        """The mean patch, among those that were clustered, of the likeliest code; grey where a
        store does not know it."""
        return self.patches[prediction.argmax(-1)]
