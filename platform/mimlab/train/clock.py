"""Where the time of the steps goes, measured without waiting for the device."""

from __future__ import annotations

import contextlib
import time
from collections import defaultdict
from collections.abc import Iterator

import torch

PHASES = ("copy", "forward", "backward", "optimizer", "save")
"""What the training thread does with a batch, in this order; `copy` includes normalising it, `save`
is what a checkpoint, an export or a board keep the training thread from going on for."""


class Clock:
    """Seconds spent in each phase, on the device's own clock where it has one."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._seconds: dict[str, float] = defaultdict(float)
        self._events: list[tuple[str, torch.cuda.Event, torch.cuda.Event]] = []

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Count what happens inside as `name`, one of `PHASES`."""
        if self._device.type != "cuda":
            start = time.perf_counter()
            yield
            self._seconds[name] += time.perf_counter() - start
            return
        began, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        began.record(torch.cuda.current_stream(self._device))
        yield
        ended.record(torch.cuda.current_stream(self._device))
        self._events.append((name, began, ended))

    def read(self) -> dict[str, float]:
        """Seconds of each phase since the last call; waits for the device."""
        for name, began, ended in self._events:
            ended.synchronize()
            self._seconds[name] += began.elapsed_time(ended) / 1e3
        found = {name: self._seconds[name] for name in PHASES}
        self._events, self._seconds = [], defaultdict(float)
        return found
