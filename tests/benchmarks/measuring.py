"""What every benchmark shares: alternating rounds, medians, and the machine that they ran on."""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch


@dataclass(frozen=True)
class Row:
    """One line of the table: what was measured, against what, and what is asked of it."""

    what: str
    against: str
    ratio: float | None
    """Median of the rounds' ratios; above 1 mimlab is the faster one. None: no peer."""
    target: str
    figures: dict[str, float]
    """Medians, with their unit in the name."""


def alternate(
    contestants: Mapping[str, Callable[[], float]], rounds: int
) -> dict[str, list[float]]:
    """Each contestant's figures, measured in turns so that a slow minute slows all of them."""
    found: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, measure in contestants.items():
            found[name].append(measure())
    return found


def ratio(figures: Mapping[str, list[float]], one: str, other: str) -> float:
    """Median over the rounds of `one` ÷ `other`."""
    return statistics.median(a / b for a, b in zip(figures[one], figures[other], strict=True))


def medians(figures: Mapping[str, list[float]], unit: str) -> dict[str, float]:
    """`name unit` → median."""
    return {f"{name} {unit}": statistics.median(values) for name, values in figures.items()}


def rate(counts: Iterable[int]) -> float:
    """Things per second of an iterable that says how many each of its items is."""
    start = time.perf_counter()
    return sum(counts) / (time.perf_counter() - start)


def seconds_of(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def machine() -> dict[str, str]:
    """Hardware, versions and commit."""
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False
    ).stdout.strip()
    return {
        "cores": str(len(os.sched_getaffinity(0))),
        "cpu": _cpu_name(),
        "memory GiB": f"{psutil.virtual_memory().total / 2**30:.0f}",
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "commit": commit or "unknown",
    }


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
