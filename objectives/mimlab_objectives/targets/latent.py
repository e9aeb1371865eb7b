"""No target of its own: the objective's teacher says what is predicted."""

from __future__ import annotations

from typing import ClassVar, NoReturn

from jaxtyping import Float
from torch import Tensor

from mimlab_objectives.masking.plan import Grid
from mimlab_objectives.registry import Params
from mimlab_objectives.targets.base import Target, TargetKind, targets


class LatentParams(Params):
    """It has none: the objective's own parameters say which features of its teacher count."""


@targets.register("latent", params=LatentParams, paper="Assran et al., 2023 (arXiv:2301.08243)")
class LatentTarget(Target):
    """What the objective's own teacher makes of the image.

    Objectives that predict it compute it themselves, and draw boards by `feature_pixels`.
    """

    kind: ClassVar[TargetKind] = "latent"

    def __init__(self, params: LatentParams, patch_size: int, grid: Grid) -> None:
        super().__init__(params, patch_size, grid)
        self.dim = 0

    def compute(self, images: Float[Tensor, "batch 3 height width"]) -> NoReturn:
        """Always raises NotImplementedError."""
        raise NotImplementedError("a latent target is computed by the objective's teacher")

    def to_pixels(
        self,
        prediction: Float[Tensor, "batch rounds tokens target_dim"],
        images: Float[Tensor, "batch 3 height width"],
    ) -> NoReturn:
        """Always raises NotImplementedError."""
        raise NotImplementedError("features are drawn by the objective")
