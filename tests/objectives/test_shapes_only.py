"""Building without values goes without PyTorch's compiler, and takes it from nobody."""

from __future__ import annotations

from collections.abc import Callable

import torch

from mimlab_objectives.backbones.vit import BackboneParams, VitBackbone
from mimlab_objectives.shapes_only import shapes_only

BUILD = """
import sys
import torch
from mimlab_objectives.backbones.vit import BackboneParams, VitBackbone
from mimlab_objectives.shapes_only import shapes_only
with shapes_only():
    backbone = VitBackbone(BackboneParams(), 224)
    positions = torch.arange(8.0) / 8
"""


def test_what_is_built_has_the_shapes_of_the_real_one() -> None:
    params = BackboneParams(embed_dim=32, depth=1, num_heads=2)
    with shapes_only():
        shapes = VitBackbone(params, 32).state_dict()
    assert {tensor.device.type for tensor in shapes.values()} == {"meta"}
    real = VitBackbone(params, 32).state_dict()
    assert {k: v.shape for k, v in shapes.items()} == {k: v.shape for k, v in real.items()}


def test_it_is_built_without_the_compiler(said: Callable[[str], str]) -> None:
    program = "print('torch._dynamo' in sys.modules, '_dynamo' in vars(torch))"
    assert said(BUILD + program) == "False False"


def test_afterwards_the_compiler_marks_what_is_called(said: Callable[[str], str]) -> None:
    """Else it would look into what it must not."""
    program = """
again = torch.arange(8.0, device="meta") / 8
print("torch._dynamo.eval_frame" in sys.modules)
"""
    assert said(BUILD + program) == "True"


def test_who_asks_for_the_compiler_inside_gets_it(said: Callable[[str], str]) -> None:
    program = """
with shapes_only():
    halved = torch.arange(4) / 4
    compiled = torch.compile(lambda x: x + 1, backend="eager")
import torch._dynamo.utils
print(compiled(torch.ones(1)).item(), torch._dynamo.utils.is_compile_supported("cpu"))
"""
    assert said(BUILD + program) == "2.0 True"


def test_an_error_inside_leaves_nothing_behind(said: Callable[[str], str]) -> None:
    program = """
try:
    with shapes_only():
        torch.ones(2) @ torch.ones(3)
except RuntimeError as error:
    print("torch._dynamo" in sys.modules)
"""
    assert said(BUILD + program) == "False"


def test_one_inside_another_changes_nothing() -> None:
    with shapes_only(), shapes_only():
        assert torch.ones(2).is_meta
    assert not torch.ones(2).is_meta
