"""What is built without values has the shapes of what is built with them."""

from __future__ import annotations

import torch

from mimlab_objectives.backbones.vit import BackboneParams, VitBackbone
from mimlab_objectives.shapes_only import shapes_only


def test_what_is_built_has_the_shapes_of_the_real_one() -> None:
    params = BackboneParams(embed_dim=32, depth=1, num_heads=2)
    with shapes_only():
        shapes = VitBackbone(params, 32).state_dict()
    assert {tensor.device.type for tensor in shapes.values()} == {"meta"}
    real = VitBackbone(params, 32).state_dict()
    assert {k: v.shape for k, v in shapes.items()} == {k: v.shape for k, v in real.items()}


def test_one_inside_another_changes_nothing() -> None:
    with shapes_only(), shapes_only():
        assert torch.ones(2).is_meta
    assert not torch.ones(2).is_meta
