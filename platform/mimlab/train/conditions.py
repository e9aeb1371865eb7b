"""What the bits of a result depend on, and how two such sets of conditions differ, in words.

Samples, views and masks never depend on any of it. Sums of floating-point numbers do: their order
follows the number of workers and threads, and the kernels that a device and a version choose.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from mimlab.spec.study import TrialSpec
from mimlab.storage.records import Conditions
from mimlab.train.config import TrainConfig

PACKAGES = (
    "timm",
    "torchvision",
    "numpy",
    "opencv-python-headless",
    "pillow",
    "simplejpeg",
)
"""That compute beside torch, or that turn encoded images into pixels."""
UNKNOWN = "its checkpoint does not say what it was computed on"
SUMS = "the samples are the same, floating-point sums are not"


def conditions_of(config: TrainConfig, device: torch.device, workers: int) -> Conditions:
    """Of this process, to be asked for once its threads and flags are set."""
    cuda = device.type == "cuda"
    return Conditions(
        workers=workers,
        device=_name(device),
        threads=torch.get_num_threads(),
        precision=config.precision,
        tf32=cuda and torch.get_float32_matmul_precision() != "highest",
        deterministic=not cuda or torch.are_deterministic_algorithms_enabled(),
        # Its builds, for CPUs or a CUDA, have one version and other kernels.
        packages={"torch": str(torch.__version__)}
        | {name: found for name in PACKAGES if (found := _version(name))},
    )


def differences(before: Conditions | None, now: Conditions, *, drops: bool) -> list[str]:
    """Why a trial that goes on under `now` does not come to the bits that it would have come to.

    Empty if it does. `drops`: whether anything is dropped at random, which is drawn by rank.
    """
    if before is None:
        return [UNKNOWN]
    found = []
    if before.workers != now.workers:
        dropped = ", nor what is dropped at random" if drops else ""
        found.append(f"workers {before.workers} → {now.workers}: {SUMS}{dropped}")
    for name in ("device", "threads", "precision", "tf32", "deterministic"):
        one, other = getattr(before, name), getattr(now, name)
        if one != other:
            found.append(f"{name} {_word(one)} → {_word(other)}")
    for name in sorted(before.packages.keys() | now.packages.keys()):
        one, other = before.packages.get(name, "none"), now.packages.get(name, "none")
        if one != other:
            found.append(f"{name} {one} → {other}")
    if now.device.startswith("cuda") and not now.deterministic:
        found.append("train.deterministic is false: kernels of this GPU may sum in any order")
    return found


def drops_at_random(spec: TrialSpec) -> bool:
    """Whether drop path or dropout is on in a trial's network."""
    return spec.backbone.drop_path > 0 or getattr(spec.objective, "dropout", 0.0) > 0


def _name(device: torch.device) -> str:
    if device.type == "cuda":
        return f"cuda: {torch.cuda.get_device_name(device)}"
    return f"{device.type}: {_processor()}, {torch.backends.cpu.get_cpu_capability()}"


def _processor() -> str:
    """The model of this machine's processor, where Linux tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return "unknown"
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, "unknown")


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _word(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
