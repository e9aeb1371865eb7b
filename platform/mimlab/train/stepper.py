"""One optimizer step: micro-batches, ranks and precisions that add up to one global batch."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from mimlab.train.clock import Clock
from mimlab.train.config import TrainConfig
from mimlab_objectives.keys import key_of
from mimlab_objectives.masking.plan import MaskPlan
from mimlab_objectives.objectives.base import Batch, Objective, ObjectiveOutput, Progress

_AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class StepResult:
    """What one step gave, over all micro-batches and ranks; not yet read from the device."""

    figures: Float[Tensor, " figures"]
    """In the order of `FIGURES`."""


FIGURES = ("loss", "grad_norm", "hidden", "repaired", "visible_tokens", "skipped", "stop")
"""`hidden` share of patches, `repaired` patches per image, `stop` > 0 if any rank asks to."""


class Stepper:
    """Runs optimizer steps of an objective on one rank."""

    def __init__(
        self,
        objective: Objective,
        optimizer: torch.optim.Optimizer,
        *,
        device: torch.device,
        config: TrainConfig,
        seed: int,
        clock: Clock,
    ) -> None:
        self.objective = objective
        self._optimizer = optimizer
        self.device = device
        self._dtype = _AUTOCAST.get(config.precision)
        self._batch_size = config.batch_size
        self._accumulate = config.accumulate
        self._clip_norm = config.clip_norm
        self._seed = seed
        self._clock = clock
        self.scaler = torch.amp.GradScaler(device.type, enabled=config.precision == "fp16")
        self._world = dist.get_world_size() if dist.is_initialized() else 1
        self._rank = dist.get_rank() if dist.is_initialized() else 0
        self._module: nn.Module = objective
        if self._world > 1:
            ids = [device.index] if device.type == "cuda" else None
            self._module = DistributedDataParallel(objective, device_ids=ids)

    def step(
        self,
        batch: Batch,
        plan: MaskPlan,
        progress: Progress,
        *,
        skipped: int = 0,
        stop: bool = False,
    ) -> StepResult:
        """Forward, backward and update with this rank's part of a global batch.

        The gradient is that of loss_sum ÷ loss_count over all micro-batches and ranks: counts are
        known only afterwards, so gradients of sums are accumulated and scaled once.
        """
        nominal = float(plan.hidden[0].numel() * self._batch_size)
        totals = self._own_totals(plan, skipped, stop)
        for micro, (part, part_plan) in enumerate(micros := self._micro_batches(batch, plan)):
            # No generator has state to lose: drop path depends on (seed, step, rank, micro) only.
            torch.manual_seed(key_of(self._seed, "drop", progress.step, self._rank, micro))
            last = micro == len(micros) - 1
            output = self._forward_backward(part, part_plan, progress, nominal, last=last)
            totals[0] += output.loss_sum.detach()
            totals[1] += output.loss_count.detach()
        if self._world > 1:
            dist.all_reduce(totals)
        loss_sum, count, hidden, repaired, tokens, masks, skips, stops = totals.unbind()
        count = count.clamp(min=1e-12)
        with self._clock.phase("optimizer"):
            grad_norm = self._update(scale=self._world * nominal / count)
            self.objective.after_step(progress)
        shares = [loss_sum / count, grad_norm, hidden / tokens, repaired / masks]
        return StepResult(torch.stack([*shares, tokens - hidden, skips, stops]))

    def _own_totals(self, plan: MaskPlan, skipped: int, stop: bool) -> Float[Tensor, " totals"]:
        """This rank's sums; the first two, loss_sum and loss_count, are still zero."""
        counts = [plan.hidden.numel(), plan.repaired.numel(), skipped, float(stop)]
        own = torch.tensor([0, 0, 0, 0, *counts], dtype=torch.float32).to(
            self.device, non_blocking=True
        )
        own[2] = plan.hidden.sum()
        own[3] = plan.repaired.sum()
        return own

    def _micro_batches(self, batch: Batch, plan: MaskPlan) -> list[tuple[Batch, MaskPlan]]:
        size = -(-len(batch) // self._accumulate)
        bounds = [(start, start + size) for start in range(0, len(batch), size)]
        return [(batch.part(*bound), plan.part(*bound)) for bound in bounds]

    def _forward_backward(
        self, batch: Batch, plan: MaskPlan, progress: Progress, nominal: float, *, last: bool
    ) -> ObjectiveOutput:
        autocast = torch.autocast(
            self.device.type, dtype=self._dtype, enabled=self._dtype is not None
        )
        with self._no_sync(last):
            with self._clock.phase("forward"), autocast:
                output: ObjectiveOutput = self._module(batch, plan, progress)
            with self._clock.phase("backward"):
                self.scaler.scale(output.loss_sum / nominal).backward()
        return output

    def _no_sync(self, last: bool) -> contextlib.AbstractContextManager:
        if isinstance(self._module, DistributedDataParallel) and not last:
            return self._module.no_sync()
        return contextlib.nullcontext()

    def _update(self, scale: Float[Tensor, ""]) -> Float[Tensor, ""]:
        self.scaler.unscale_(self._optimizer)
        grads = [
            parameter.grad
            for group in self._optimizer.param_groups
            for parameter in group["params"]
            if parameter.grad is not None
        ]
        norm = torch.nn.utils.get_total_norm(grads) * scale
        if self._clip_norm is not None:
            scale = scale * (self._clip_norm / (norm + 1e-6)).clamp(max=1.0)
        torch._foreach_mul_(grads, scale)  # pyright: ignore[reportPrivateImportUsage]
        self.scaler.step(self._optimizer)
        self.scaler.update()
        self._optimizer.zero_grad(set_to_none=True)
        return norm
