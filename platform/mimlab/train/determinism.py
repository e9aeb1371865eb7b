"""Kernels whose sums do not depend on timing, for training on GPUs.

On a CPU every kernel that is used here sums in an order of its own, whatever is asked for.
"""

from __future__ import annotations

import os

import torch

from mimlab.errors import TrialError

CUBLAS_WORKSPACE = ":4096:8"
"""One of the two workspaces with which cuBLAS promises the same bits (CUDA's manual of cuBLAS,
"Results reproducibility"); it is read when a process multiplies its first matrices."""


def use_deterministic_kernels(device: torch.device) -> None:
    """Keep other kernels away from this process, from now on; nothing on a CPU.

    An operation that has no such kernel then raises RuntimeError, see `no_such_kernel`.
    """
    if device.type != "cuda":
        return
    os.environ["CUBLAS_WORKSPACE_CONFIG"] = CUBLAS_WORKSPACE
    torch.backends.cudnn.benchmark = False
    torch.use_deterministic_algorithms(True)


def no_such_kernel(error: BaseException) -> TrialError | None:
    """The end of a trial that needs an operation which has no deterministic kernel, if `error` says
    so."""
    words = str(error)
    if not isinstance(error, RuntimeError) or "deterministic" not in words:
        return None
    said = words.strip().splitlines()[0]
    return TrialError("failed", f"{said}; `train: {{deterministic: false}}` trains without")
