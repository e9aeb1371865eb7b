"""Discrete codes of patches, by a tokenizer that is fitted before the first step."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from jaxtyping import Float, Int
from pydantic import Field, model_validator
from torch import Tensor

from mimlab_objectives.masking.plan import Grid
from mimlab_objectives.registry import ParamsError
from mimlab_objectives.targets.base import Target, TargetKind, targets
from mimlab_objectives.teachers.weights import TeacherParams
from mimlab_objectives.tokenizers.kmeans import FeatureKMeans, KMeansFeatureParams
from mimlab_objectives.tokenizers.kmeans_codebook import SEED, KMeansParams
from mimlab_objectives.tokenizers.kmeans_encoder import KMeansEncoder
from mimlab_objectives.tokenizers.kmeans_hog import HogKMeans, KMeansHogParams
from mimlab_objectives.tokenizers.kmeans_pixels import KMeansPixelParams, PixelKMeans
from mimlab_objectives.tokenizers.patches import PatchMeans

_IMAGES = 32
"""Images that features are taken of at once in `fit`."""


class TokenParams(KMeansParams):
    """What is clustered, and into how many codes."""

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

    def shown_as(self, name: str) -> str:
        """Says that these are no codes of a published tokenizer."""
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
class TokenTarget(Target):
    """The nearest of `vocabulary` k-means codes to each patch's features.

    The arithmetic is that of the tokenizers whose codes are stored (`FeatureKMeans`, `PixelKMeans`,
    `HogKMeans`), and by default of k-CLIP; what is clustered is not: k-CLIP takes layer 4 of CLIP
    RN50x64 and 4.2 million patches of ImageNet. Hence such runs are shown as `tokens(kmeans-…)`.
    Codebook and mean patches are saved with the objective.

    Raises ParamsError if the images have fewer patches than there are codes, and as FrozenTeacher.
    """

    kind: ClassVar[TargetKind] = "classes"

    def __init__(self, params: TokenParams, patch_size: int, grid: Grid) -> None:
        super().__init__(params, patch_size, grid)
        if params.images * grid[0] * grid[1] < params.vocabulary:
            raise ParamsError(
                "vocabulary",
                f"{params.vocabulary} codes need as many patches, and {params.images} images have "
                f"{params.images * grid[0] * grid[1]}: lower vocabulary or raise images",
            )
        self.params = params
        self.fit_images, self.dim = params.images, params.vocabulary
        self.encoder = params.tokenizer(patch_size, grid)
        self.patches: Tensor
        self.register_buffer("patches", torch.zeros(self.dim, 3 * patch_size**2))

    @torch.no_grad()
    def fit(self, images: Float[Tensor, "images 3 height width"]) -> None:
        """Cluster the points of all patches. Raises ParamsError if there are too few of them."""
        points = torch.cat([self.encoder.points(part) for part in images.split(_IMAGES)])
        self.encoder.fit(points.flatten(0, 1), SEED)
        means = PatchMeans(self.dim, self.patch_size, device=images.device)
        for some, own in zip(images.split(_IMAGES), points.split(_IMAGES), strict=True):
            means.add(some, self.encoder.codes_of(own))
        self.patches.copy_(means.means())

    @torch.no_grad()
    def compute(self, images: Float[Tensor, "batch 3 height width"]) -> Int[Tensor, "batch tokens"]:
        """The code of every patch, int64."""
        return self.encoder.encode(images)

    @torch.no_grad()
    def to_pixels(
        self,
        prediction: Float[Tensor, "batch rounds tokens target_dim"],
        images: Float[Tensor, "batch 3 height width"],  # noqa: ARG002
    ) -> Float[Tensor, "batch rounds tokens patch_dim"]:
        """The mean patch, among those that were clustered, of the likeliest code."""
        return self.patches[prediction.argmax(-1)]
