"""Arithmetic of a step, and what the machine can do of it."""

from __future__ import annotations

import statistics
import time

import torch
from torch.utils.flop_counter import FlopCounterMode

from mimlab_objectives.masking.plan import MaskPlan
from mimlab_objectives.objectives.base import Batch, Objective, Progress


def step_flops(objective: Objective, batch: Batch, plan: MaskPlan) -> int:
    """Floating-point operations of one forward and backward pass.

    Matrix products, convolutions and attention count, an addition and a multiplication as two;
    what is done element by element, and the optimizer, does not.
    """
    with FlopCounterMode(display=False) as counter:
        output = objective(batch, plan, Progress(0, 0.0))
        output.loss_sum.backward()
    objective.zero_grad(set_to_none=True)
    return counter.get_total_flops()


def matrix_rate(device: torch.device, *, size: int = 2048, repeats: int = 5) -> float:
    """FLOP/s of large fp32 matrix products, by as many threads as torch has now; a median."""
    a, b = (torch.randn(size, size, device=device) for _ in range(2))
    return 2 * size**3 / statistics.median(_spent(a, b) for _ in range(repeats + 1))


def _spent(a: torch.Tensor, b: torch.Tensor) -> float:
    started = time.perf_counter()
    float((a @ b)[0, 0])  # waits for the device
    return time.perf_counter() - started
