"""K-means over a frozen model's features of each patch: k-CLIP, and its like of any timm model."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from mimlab_objectives.masking.plan import Grid
from mimlab_objectives.teachers.frozen import FrozenTeacher
from mimlab_objectives.teachers.weights import PRETRAINED, TeacherParams
from mimlab_objectives.tokenizers.base import patch_encoders, square_side
from mimlab_objectives.tokenizers.kmeans_codebook import KMeansParams
from mimlab_objectives.tokenizers.kmeans_encoder import KMeansEncoder


class KMeansFeatureParams(KMeansParams):
    """Whose features are clustered, and how."""

    teacher: TeacherParams
    """The frozen network, and its layer."""


K_CLIP = KMeansFeatureParams(
    teacher=TeacherParams(name="resnet50x64_clip", weights=PRETRAINED, layer=4)
)
"""The tokenizer of MaPeT (aimagelab/MaPeT, data/kmeans/clip.py and kmeans_processing.py): the last
stage of OpenAI's CLIP RN50x64 before its attention pooling, 448 px for a grid of 14 × 14, features
not normalised, 8192 codes in Euclidean distance, 20 iterations, the best of 5 runs, at most 512
patches for a code; seed 1234 (`SEED`)."""


@patch_encoders.register(
    "kmeans", params=KMeansFeatureParams, paper="Baraldi et al., 2023 (arXiv:2306.07346)"
)
class FeatureKMeans(KMeansEncoder):
    """The nearest k-means code to a frozen timm model's features of each patch, at any layer.

    Features are before any last norm, as they are. It reads images of grid × the layer's stride px:
    images of that size reach the teacher unscaled. Raises ParamsError as FrozenTeacher.
    """

    def __init__(self, params: KMeansFeatureParams, grid: Grid) -> None:
        teacher = FrozenTeacher(params.teacher, grid)
        super().__init__(
            params,
            grid,
            source=params.teacher.label_with_layer,
            point_dim=teacher.dim,
            size=square_side(teacher.size),
        )
        self.teacher = teacher

    @torch.no_grad()
    def points(
        self, images: Float[Tensor, "batch 3 height width"]
    ) -> Float[Tensor, "batch tokens point_dim"]:
        """Features of every patch."""
        return self.teacher(images)

    def all_weights(self) -> dict[str, Tensor]:
        """The teacher's, too."""
        return {**self.state_dict(), **self.teacher.weights()}
