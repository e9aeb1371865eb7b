"""MAE's fixed 2-D sine-cosine positions."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from mimlab_objectives.masking.plan import Grid
from mimlab_objectives.registry import ParamsError

_BASE = 10_000.0  # Vaswani et al., 2017, section 3.5


def sincos_positions(grid: Grid, dim: int, *, field: str) -> Float[Tensor, "tokens dim"]:
    """float32 positions of a grid: the first half encodes the column, the second half the row.

    The order of the halves is that of facebookresearch/mae, util/pos_embed.py, which lets the
    width go first. Raises ParamsError on `field` if `dim` is no multiple of 4.
    """
    if dim % 4:
        raise ParamsError(field, f"sine-cosine positions need a multiple of 4 channels, not {dim}")
    rows, columns = torch.meshgrid(
        torch.arange(grid[0], dtype=torch.float64),
        torch.arange(grid[1], dtype=torch.float64),
        indexing="ij",
    )
    halves = [_sincos(columns.flatten(), dim // 2), _sincos(rows.flatten(), dim // 2)]
    return torch.cat(halves, dim=1).float()


def _sincos(coordinates: Float[Tensor, " tokens"], dim: int) -> Float[Tensor, "tokens dim"]:
    exponents = torch.arange(dim // 2, dtype=torch.float64) / (dim // 2)
    angles = coordinates[:, None] * _BASE**-exponents
    return torch.cat([angles.sin(), angles.cos()], dim=1)
