"""One optimizer step: micro-batches, ranks and precisions that add up to one global batch."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

import torch
import torch.distributed as dist
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from mimlab.data.source import cut_bounds
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
    """In the order of `Stepper.names`."""
    unsound: Bool[Tensor, " samples"]
    """Of the global batch, which samples have a patch whose loss is not finite; empty where the
    objective's loss does not decompose over patches."""


FIGURES = ("loss", "grad_norm", "hidden", "repaired", "visible_tokens", "skipped", "stop")
"""`hidden` share of patches, `repaired` patches per image, `stop` > 0 if any rank asks to."""


def figure_names(objective: type[Objective] | Objective) -> tuple[str, ...]:
    """What a step of an objective gives: `FIGURES`, then `term/…` and `diagnostic/…` of its own."""
    terms = (f"term/{name}" for name in objective.terms)
    return (*FIGURES, *terms, *(f"diagnostic/{name}" for name in objective.diagnostics))


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
        self._terms, self._diagnostics = objective.terms, objective.diagnostics
        self.names = figure_names(objective)
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
        extras = totals.new_zeros(2 * len(self._terms) + len(self._diagnostics))
        unsound: list[Tensor] = []
        for micro, (part, part_plan) in enumerate(micros := self._micro_batches(batch, plan)):
            # No generator has state to lose: drop path depends on (seed, step, rank, micro) only.
            torch.manual_seed(key_of(self._seed, "drop", progress.step, self._rank, micro))
            last = micro == len(micros) - 1
            output = self._forward_backward(part, part_plan, progress, nominal, last=last)
            totals[0] += output.loss_sum.detach()
            totals[1] += output.loss_count.detach()
            extras += self._extras(output)
            if output.per_patch_loss is not None:
                unsound.append(~output.per_patch_loss.isfinite().flatten(1).all(1))
        flags = self._of_all_ranks(unsound)
        reduced = torch.cat([totals, extras, flags])
        if self._world > 1:
            dist.all_reduce(reduced)
        totals, extras, flags = reduced.split([len(totals), len(extras), len(flags)])
        loss_sum, count, hidden, repaired, tokens, masks, skips, stops = totals.unbind()
        count = count.clamp(min=1e-12)
        with self._clock.phase("optimizer"):
            grad_norm = self._update(scale=self._world * nominal / count)
            self.objective.after_step(progress)
        shares = [loss_sum / count, grad_norm, hidden / tokens, repaired / masks]
        own = torch.stack([*shares, tokens - hidden, skips, stops])
        return StepResult(torch.cat([own, *self._means(extras, len(micros))]), flags > 0)

    def _of_all_ranks(self, unsound: list[Tensor]) -> Float[Tensor, " samples"]:
        """This rank's flags where its samples stand in the global batch: adding up unites them."""
        if not unsound:
            return torch.zeros(0, device=self.device)
        own = torch.cat(unsound).float()
        if self._world == 1:
            return own
        whole = own.new_zeros(self._batch_size)
        start = cut_bounds(self._batch_size, self._world)[self._rank]
        whole[start : start + len(own)] = own
        return whole

    def _extras(self, output: ObjectiveOutput) -> Float[Tensor, " extras"]:
        """Sums of the terms, their counts, and the diagnostics, of one micro-batch."""
        if not self._terms and not self._diagnostics:
            return torch.zeros(0, device=self.device)
        terms = [output.terms[name] for name in self._terms]
        values = [total for total, _ in terms] + [count for _, count in terms]
        values += [output.diagnostics[name] for name in self._diagnostics]
        return torch.stack([value.detach().float() for value in values])

    def _means(self, extras: Float[Tensor, " extras"], micros: int) -> list[Tensor]:
        """Terms as sum ÷ count; diagnostics as the mean over micro-batches and ranks."""
        num = len(self._terms)
        sums, counts, diagnostics = extras[:num], extras[num : 2 * num], extras[2 * num :]
        return [sums / counts.clamp(min=1e-12), diagnostics / (micros * self._world)]

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
