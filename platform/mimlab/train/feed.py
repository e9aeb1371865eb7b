"""From the stream's batches on the host to batches and mask plans on the device, ahead of time."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from mimlab.data.stream import LocalBatch
from mimlab.train.clock import Clock
from mimlab.train.pixels import normalise
from mimlab.train.threads import single_threaded
from mimlab_objectives.keys import key_of, sample_keys
from mimlab_objectives.masking.plan import Masking, MaskPlan, MaskRequest
from mimlab_objectives.objectives.base import Batch, Objective, Progress


class Planner:
    """Plans masks by (trial seed, epoch, sample id)."""

    def __init__(self, masking: Masking, seed: int) -> None:
        self.masking = masking
        self._key = key_of(seed, "mask")

    def keys(
        self, ids: Int[Tensor, " batch"], epochs: Int[Tensor, " batch"]
    ) -> Int[Tensor, " batch"]:
        return torch.from_numpy(sample_keys(self._key, ids.numpy(), epochs.numpy()))

    def plan(
        self,
        keys: Int[Tensor, " batch"],
        progress: Progress,
        *,
        objective: Objective | None = None,
        batch: Batch | None = None,
    ) -> MaskPlan:
        """The plan of a batch; `objective` and `batch` supply the signals that it needs, if any."""
        signals = {}
        if self.masking.requires:
            assert objective is not None and batch is not None
            with torch.no_grad():
                signals = objective.signals(batch, self.masking.requires)
        request = MaskRequest(keys, progress.fraction, progress.step, signals)
        return self.masking.plan(request)


@dataclass(frozen=True)
class Fed:
    """A batch that is ready for a step."""

    step: int
    batch: Batch
    keys: Int[Tensor, " batch"]
    plan: MaskPlan | None
    """None where the masking needs signals of the objective: planned in the step."""
    skipped: int
    waited_s: float


class Feeder:
    """Plans masks and copies batches to the device in a thread of its own."""

    def __init__(
        self, planner: Planner, device: torch.device, total_steps: int, clock: Clock
    ) -> None:
        self._planner = planner
        self._device = device
        self._clock = clock
        self._total = total_steps
        self._copies = torch.cuda.Stream(device) if device.type == "cuda" else None

    def feed(self, batches: Iterable[LocalBatch], ahead: int = 2) -> Iterator[Fed]:
        """The batches in order, `ahead` of them prepared before they are asked for."""
        source = iter(batches)
        with single_threaded("feed") as executor:
            pending = deque(executor.submit(self._next, source) for _ in range(ahead))
            while True:
                asked = time.perf_counter()
                prepared = pending.popleft().result()
                if prepared is None:
                    return
                pending.append(executor.submit(self._next, source))
                waited_s = time.perf_counter() - asked
                with self._clock.phase("copy"):
                    fed = self._receive(*prepared, waited_s=waited_s)
                yield fed

    def _next(
        self, source: Iterator[LocalBatch]
    ) -> tuple[LocalBatch, Tensor, Tensor, MaskPlan | None] | None:
        local = next(source, None)
        if local is None:
            return None
        keys = self._planner.keys(local.ids, local.epochs)
        plan = None
        if not self._planner.masking.requires:
            plan = self._planner.plan(keys, Progress(local.step, local.step / self._total))
        if self._copies is None:
            return local, local.images, keys, plan
        with torch.cuda.stream(self._copies):
            images = local.images.to(self._device, non_blocking=True)
            plan = None if plan is None else plan.pinned().to(self._device)
            return local, images, keys.to(self._device, non_blocking=True), plan

    def _receive(
        self,
        local: LocalBatch,
        images: Tensor,
        keys: Tensor,
        plan: MaskPlan | None,
        *,
        waited_s: float,
    ) -> Fed:
        if self._copies is not None:
            # The allocator may reuse memory of the copying stream: order and mark its use here.
            stream = torch.cuda.current_stream(self._device)
            stream.wait_stream(self._copies)
            for tensor in (images, keys, *(plan.tensors() if plan else ())):
                tensor.record_stream(stream)
        batch = Batch(local.ids, normalise(images))
        return Fed(local.step, batch, keys, plan, local.skipped, waited_s)
