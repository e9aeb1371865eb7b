"""timm and torchvision come without PyTorch's compiler, and it comes where it is needed."""

from __future__ import annotations

from collections.abc import Callable

IMPORT = """
import sys
import mimlab_objectives
mimlab_objectives.discover()
import timm, torch, torchvision
"""


def test_everything_that_is_registered_is_there_without_the_compiler(
    said: Callable[[str], str],
) -> None:
    program = "print([name for name in sys.modules if name.startswith('torch._dynamo')])"
    assert said(IMPORT + program) == "[]"


def test_what_asks_for_the_compiler_gets_it(said: Callable[[str], str]) -> None:
    program = """
boxes = [torch.tensor([[0.0, 0.0, 4.0, 4.0]])]
torch.use_deterministic_algorithms(True)
pooled = torchvision.ops.roi_align(torch.ones(1, 1, 4, 4), boxes, output_size=1)
import torch._dynamo.utils
print(pooled.item(), torch._dynamo.utils.is_compile_supported('cpu'))
"""
    assert said(IMPORT + program) == "1.0 True"


def test_what_is_not_to_be_compiled_is_not(said: Callable[[str], str]) -> None:
    program = """
from mimlab_objectives.lean_timm import _disable_when_called
marked = _disable_when_called(torch.compiler.is_compiling)
compiled = torch.compile(lambda: (marked(), torch.compiler.is_compiling()), backend='eager')
print(compiled())
"""
    assert said(IMPORT + program) == "(False, True)"


def test_timm_is_itself(said: Callable[[str], str]) -> None:
    program = (
        "print(timm.__spec__.loader.is_package('timm'), timm.is_model('vit_small_patch16_224'))"
    )
    assert said(IMPORT + program) == "True True"
