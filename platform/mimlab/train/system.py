"""What the machine is doing, by the names that MLflow shows among its system metrics."""

from __future__ import annotations

import psutil
import torch

MIB = 2**20

SYSTEM_KEYS: dict[str, str] = {
    "system/cpu_utilization_percentage": "Of all cores of rank 0's machine, since the last point.",
    "system/system_memory_usage_percentage": "Of rank 0's machine.",
    "system/worker_memory_megabytes": "Resident memory of rank 0's worker.",
    "system/gpu_peak_memory_megabytes": "Most that rank 0's tensors took of its GPU.",
}
"""Key → meaning."""


def system_metrics(device: torch.device) -> dict[str, float]:
    """The figures of this moment; those of a GPU where the trial has one."""
    found = {
        "system/cpu_utilization_percentage": psutil.cpu_percent(),
        "system/system_memory_usage_percentage": psutil.virtual_memory().percent,
        "system/worker_memory_megabytes": psutil.Process().memory_info().rss / MIB,
    }
    if device.type == "cuda":
        found["system/gpu_peak_memory_megabytes"] = torch.cuda.max_memory_allocated(device) / MIB
    return found
