"""Building and training go without PyTorch's compiler, and take it from nobody."""

from __future__ import annotations

from collections.abc import Callable

TRAIN = """
import sys
import torch
from mimlab_objectives.lean_torch import without_compiler
with without_compiler():
    positions = torch.arange(8.0, device="meta") / 8
    model = torch.nn.Linear(2, 2)
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    for _ in range(2):
        optimizer.zero_grad()
        model(torch.ones(1, 2)).sum().backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    optimizer.load_state_dict(optimizer.state_dict())
"""


def test_steps_and_states_need_no_compiler(said: Callable[[str], str]) -> None:
    """Nor does what fails leave anything behind."""
    program = """
found = ["torch._dynamo" in sys.modules, "_dynamo" in vars(torch)]
try:
    with without_compiler():
        optimizer.zero_grad(neither=True)
except TypeError:
    print(found, "torch._dynamo" in sys.modules)
"""
    assert said(TRAIN + program) == "[False, False] False"


def test_afterwards_the_compiler_marks_what_is_called(said: Callable[[str], str]) -> None:
    """Else it would look into what it must not."""
    program = """
optimizer.zero_grad()
print("torch._dynamo.eval_frame" in sys.modules)
"""
    assert said(TRAIN + program) == "True"


def test_who_asks_for_the_compiler_inside_gets_it(said: Callable[[str], str]) -> None:
    program = """
with without_compiler():
    import torch._dynamo.utils as utils
    from torch._dynamo import allow_in_graph
    compiled = torch.compile(lambda x: x + 1, backend="eager")
    optimizer.step()
print(compiled(torch.ones(1)).item(), utils.is_compile_supported("cpu"), allow_in_graph.__module__)
"""
    assert said(TRAIN + program).startswith("2.0 True torch._dynamo")


def test_who_marks_a_function_inside_has_it_marked(said: Callable[[str], str]) -> None:
    program = """
with without_compiler():
    marked = torch.compiler.disable(torch.compiler.is_compiling, reason="it looks around")
compiled = torch.compile(lambda: (marked(), torch.compiler.is_compiling()), backend="eager")
print(compiled())
"""
    assert said(TRAIN + program) == "(False, True)"
