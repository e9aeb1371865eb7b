"""Starting an encoder from given weights instead of random ones."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from timm.layers.pos_embed import resample_abs_pos_embed
from timm.models import VisionTransformer
from torch import Tensor

from mimlab_objectives.backbones.vit import VitBackbone
from mimlab_objectives.registry import ParamsError

_FIELD = "init"
_HEAD = "head."
"""Of the classifier, as timm names it in every vision transformer; an encoder has none."""
_POSITIONS = "pos_embed"
_SHOWN = 3


@dataclass(frozen=True)
class Fitted:
    """Weights that an encoder takes as they are."""

    weights: dict[str, Tensor]
    resampled: str
    """How positions were changed, for people; empty where they were not."""


def fitted(weights: Mapping[str, Tensor], backbone: VitBackbone) -> Fitted:
    """Weights under timm's names, fitted to an encoder, which may lie on the meta device.

    A classifier head is left out; positions of another grid are resampled by timm's own function.
    Raises ParamsError on `init` for anything else that is missing, unknown or of another shape.
    """
    own = backbone.vit.state_dict()
    given = {name: weight for name, weight in weights.items() if not name.startswith(_HEAD)}
    missing, unknown = own.keys() - given.keys(), given.keys() - own.keys()
    if missing or unknown:
        lacks = [f"lack {_some(missing)}"] if missing else []
        has = [f"have {_some(unknown)}, which it does not know"] if unknown else []
        what = " and ".join([*lacks, *has])
        raise ParamsError(_FIELD, f"these are no weights of this encoder: they {what}")
    resampled = ""
    if given[_POSITIONS].shape != own[_POSITIONS].shape:
        given[_POSITIONS], resampled = _resampled(given[_POSITIONS], backbone.vit)
    other = [
        f"{name} is {_shape(given[name])} instead of {_shape(own[name])}"
        for name in own
        if given[name].shape != own[name].shape
    ]
    if other:
        more = f" and {len(other) - _SHOWN} more" if len(other) > _SHOWN else ""
        raise ParamsError(
            _FIELD, f"these weights have other shapes: {', '.join(other[:_SHOWN])}{more}"
        )
    return Fitted(given, resampled)


def start_from(backbone: VitBackbone, weights: Mapping[str, Tensor]) -> str:
    """Replace an encoder's weights; says how positions were changed. Raises as `fitted` does."""
    found = fitted(weights, backbone)
    backbone.vit.load_state_dict(found.weights)
    return found.resampled


def _resampled(positions: Tensor, vit: VisionTransformer) -> tuple[Tensor, str]:
    prefix = 0 if vit.no_embed_class else vit.num_prefix_tokens
    patches = positions.shape[1] - prefix if positions.ndim == 3 else 0
    side = math.isqrt(max(patches, 0))
    if patches < 1 or side * side != patches:
        raise ParamsError(
            _FIELD, f"positions of shape {_shape(positions)} belong to no square grid of patches"
        )
    rows, columns = vit.patch_embed.grid_size
    new = resample_abs_pos_embed(
        positions, new_size=[rows, columns], old_size=[side, side], num_prefix_tokens=prefix
    )
    return new, f"positions resampled from {side} × {side} to {rows} × {columns} patches"


def _shape(tensor: Tensor) -> str:
    return " × ".join(map(str, tensor.shape)) or "a single number"


def _some(names: Iterable[str]) -> str:
    listed = sorted(names)
    more = f" and {len(listed) - _SHOWN} more" if len(listed) > _SHOWN else ""
    return ", ".join(listed[:_SHOWN]) + more
