"""What is said where memory runs out: how much there was, and what would fit."""

from __future__ import annotations

import psutil
import torch

from mimlab.errors import TrialError
from mimlab.train.config import TrainConfig

GIB = 2**30


def ran_out(error: BaseException) -> bool:
    """Whether torch or Python asked for memory, of the device or the host, that was not there."""
    # torch has a class for the device's memory only.
    host = isinstance(error, RuntimeError) and "DefaultCPUAllocator: can't allocate" in str(error)
    return host or isinstance(error, torch.OutOfMemoryError | MemoryError)


def out_of_memory(device: torch.device, config: TrainConfig, world: int) -> TrialError:
    """The end of a trial whose step did not fit, on one of `world` workers."""
    return TrialError("failed", f"out of memory on {_figures(device)}; {remedy(config, world)}")


def remedy(config: TrainConfig, world: int) -> str:
    """What would need less memory and give the same result, if anything would."""
    images = -(-config.batch_size // (world * config.accumulate))
    if images < 2:
        return "a worker holds one image at a time: train a smaller backbone or smaller images"
    accumulate = 2 * config.accumulate
    fewer = -(-config.batch_size // (world * accumulate))
    return (
        f"a worker held {images} images at a time: `train: {{accumulate: {accumulate}}}` makes "
        f"that {fewer}, and the batch remains {config.batch_size}"
    )


def _figures(device: torch.device) -> str:
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        peak = torch.cuda.max_memory_allocated(device)
        return (
            f"{device}: {_gib(total - free)} of {_gib(total)} in use, "
            f"at most {_gib(peak)} by this worker"
        )
    memory, own = psutil.virtual_memory(), psutil.Process().memory_info().rss
    return (
        f"the host: {_gib(memory.total - memory.available)} of {_gib(memory.total)} in use, "
        f"{_gib(own)} by this worker"
    )


def _gib(count: int) -> str:
    return f"{count / GIB:.1f} GiB"
