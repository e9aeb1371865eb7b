"""From the stream's batches on the host to batches and mask plans on the device, ahead of time."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Int, Int64, Shaped, UInt8
from torch import Tensor

from mimlab.data.stream import LocalBatch
from mimlab.spec.study import PRIOR
from mimlab.train.clock import Clock
from mimlab.train.pixels import normalise
from mimlab.train.threads import single_threaded
from mimlab_objectives.keys import key_of, sample_keys
from mimlab_objectives.masking.plan import Masking, MaskPlan, MaskRequest, Signal
from mimlab_objectives.objectives.base import Batch, Objective, Progress


@dataclass(frozen=True)
class GlobalBatches:
    """What the whole batch of a step is, for maskings that couple its images."""

    samples: Callable[[int], tuple[Int64[np.ndarray, " batch"], Int64[np.ndarray, " batch"]]]
    """Step → ids and epochs of the global batch."""
    rank: int = 0
    world: int = 1


class Planner:
    """Plans masks by (trial seed, epoch, sample id), and (trial seed, step) for what a batch
    shares."""

    def __init__(
        self, masking: Masking, seed: int, global_batches: GlobalBatches | None = None
    ) -> None:
        """Without `global_batches`, the samples that a plan is asked for are the whole batch."""
        self.masking = masking
        self._key = key_of(seed, "mask")
        self._step_key = key_of(seed, "mask of a batch")
        self._global = global_batches

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
        whole = self._global if self.masking.couples_batch else None
        if whole is not None:
            ids, epochs = map(torch.from_numpy, whole.samples(progress.step))
            keys = self.keys(ids, epochs).to(keys.device)
        signals = {}
        if self.masking.requires:
            assert objective is not None and batch is not None
            with torch.no_grad():
                signals = _signals(objective, batch, self.masking.requires)
        step_key = key_of(self._step_key, progress.step)
        plan = self.masking.plan(MaskRequest(keys, progress.fraction, step_key, signals))
        if whole is None:
            return plan
        share = len(keys) // whole.world
        return plan.part(whole.rank * share, (whole.rank + 1) * share)


def _signals(objective: Objective, batch: Batch, names: frozenset[Signal]) -> dict[Signal, Tensor]:
    found: dict[Signal, Tensor] = {}
    if "pixels" in names:
        found["pixels"] = batch.images
    if "prior_map" in names:
        assert batch.maps is not None  # a study without such a sidecar is refused
        found["prior_map"] = batch.maps
    of_objective = names & objective.supplies
    return found | (objective.signals(batch, of_objective) if of_objective else {})


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


class Moved(NamedTuple):
    """A batch of the stream, on its way to the device or there."""

    local: LocalBatch
    images: UInt8[Tensor, "batch size size 3"]
    stored: Shaped[Tensor, "batch ..."] | None
    keys: Int[Tensor, " batch"]
    plan: MaskPlan | None

    def tensors(self) -> list[Tensor]:
        """Those that were copied."""
        stored = () if self.stored is None else (self.stored,)
        return [self.images, *stored, self.keys, *(self.plan.tensors() if self.plan else ())]


class Feeder:
    """Plans masks and copies batches to the device in a thread of its own."""

    def __init__(
        self,
        planner: Planner,
        device: torch.device,
        total_steps: int,
        clock: Clock,
        *,
        labels: bool = False,
    ) -> None:
        """`labels`: whether batches have those of their images."""
        self._planner = planner
        self._labels = labels
        self._device = device
        self._clock = clock
        self._total = total_steps
        self._copies = torch.cuda.Stream(device) if device.type == "cuda" else None

    def feed(self, batches: Iterable[LocalBatch], ahead: int = 2) -> Generator[Fed, None, None]:
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
                    fed = self._receive(prepared, waited_s=waited_s)
                yield fed

    def _next(self, source: Iterator[LocalBatch]) -> Moved | None:
        local = next(source, None)
        if local is None:
            return None
        keys = self._planner.keys(local.ids, local.epochs)
        plan = None
        if not self._planner.masking.requires:
            plan = self._planner.plan(keys, Progress(local.step, local.step / self._total))
        if self._copies is None:
            return Moved(local, local.images, local.stored, keys, plan)
        with torch.cuda.stream(self._copies):
            images = local.images.to(self._device, non_blocking=True)
            stored = local.stored
            if stored is not None:
                stored = stored.to(self._device, non_blocking=True)
            plan = None if plan is None else plan.pinned().to(self._device)
            keys = keys.to(self._device, non_blocking=True)
            return Moved(local, images, stored, keys, plan)

    def _receive(self, moved: Moved, *, waited_s: float) -> Fed:
        if self._copies is not None:
            # The allocator may reuse memory of the copying stream: order and mark its use here.
            stream = torch.cuda.current_stream(self._device)
            stream.wait_stream(self._copies)
            for tensor in moved.tensors():
                tensor.record_stream(stream)
        local, images, stored, keys, plan = moved
        if stored is not None and stored.is_floating_point():
            stored = stored.float()
        labels = local.labels.to(images.device, non_blocking=True) if self._labels else None
        maps = None if local.maps is None else local.maps.get(PRIOR)
        if maps is not None:
            maps = maps.to(images.device, non_blocking=True)
        batch = Batch(local.ids, normalise(images), labels, maps, stored)
        return Fed(local.step, batch, keys, plan, local.skipped, waited_s)
