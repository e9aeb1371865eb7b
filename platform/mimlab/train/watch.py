"""What flows through an objective in one step: by module, how large, and where it stops being
finite."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from functools import partial

import torch
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from mimlab_objectives.masking.plan import MaskPlan
from mimlab_objectives.objectives.base import Batch, Objective, ObjectiveOutput


class Flow(BaseModel):
    """What came out of one module, over all of its calls in the step."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    module: str
    """Dotted name within the objective, e.g. `backbone.vit.blocks.3.mlp`."""
    largest: float
    """Largest finite absolute value."""
    finite: bool
    fed_finite: bool
    """Whether what the module was given was finite in the first call whose output was not."""


@dataclass(frozen=True)
class Call:
    """One micro-batch: what the objective was given, and what it made of it."""

    batch: Batch
    plan: MaskPlan
    output: ObjectiveOutput

    @property
    def sample_loss(self) -> Float[Tensor, " batch"] | None:
        """Each sample's own loss: the weighted mean over its patches; None where there is none."""
        losses = self.output.per_patch_loss
        if losses is None:
            return None
        weight = self.plan.weight.float()
        total = (losses.float() * weight).sum((1, 2))
        return total / weight.sum((1, 2)).clamp(min=1e-12)


@dataclass
class Watch:
    """Fills while the objective runs inside `watching`."""

    calls: list[Call] = field(default_factory=list)
    flows: dict[str, Flow] = field(default_factory=dict)
    """In the order in which the modules first ended: the innermost before those around them."""
    bad_inputs: list[str] = field(default_factory=list)
    """Parts of the batch that are not finite, before any module: `images`, `stored`."""
    bad_gradients: list[str] = field(default_factory=list)
    """Parameters whose gradient is not finite."""

    @property
    def first(self) -> Flow | None:
        """The first module whose output is not finite, if any."""
        return next((flow for flow in self.flows.values() if not flow.finite), None)

    def largest(self, count: int) -> list[Flow]:
        """The modules with the largest outputs."""
        return sorted(self.flows.values(), key=lambda flow: -flow.largest)[:count]


@contextlib.contextmanager
def watching(objective: Objective) -> Iterator[Watch]:
    """Watch the objective for the duration of the context; it changes no number.

    A module that is used without being called, such as one whose weights are taken, is not seen.
    """
    watch = Watch()
    handles = [
        module.register_forward_hook(partial(_see, watch, name))
        for name, module in objective.named_modules()
        if name
    ]
    handles.append(objective.register_forward_hook(partial(_keep, watch)))
    handles += [
        parameter.register_post_accumulate_grad_hook(partial(_grade, watch, name))
        for name, parameter in objective.named_parameters()
        if parameter.requires_grad
    ]
    try:
        yield watch
    finally:
        for handle in handles:
            handle.remove()


def not_finite(tensors: Iterable[tuple[str, Tensor]]) -> list[str]:
    """Names of the floating-point tensors that hold a number which is not finite."""
    return [name for name, tensor in tensors if not _finite(tensor)]


def _see(watch: Watch, name: str, _module: nn.Module, given: object, output: object) -> None:
    tensors = list(_tensors(output))
    if not tensors:
        return
    finite = all(map(_finite, tensors))
    largest = max(map(_largest, tensors))
    flow = watch.flows.get(name)
    if flow is None:
        flow = watch.flows[name] = Flow(module=name, largest=0.0, finite=True, fed_finite=True)
    flow.largest = max(flow.largest, largest)
    if flow.finite and not finite:
        flow.finite, flow.fed_finite = False, all(map(_finite, _tensors(given)))
        # From here on the order is that of the damage.
        watch.flows[name] = watch.flows.pop(name)


def _keep(watch: Watch, _module: nn.Module, given: tuple, output: ObjectiveOutput) -> None:
    batch, plan, _ = given
    watch.calls.append(Call(batch, plan, output))
    # Not the maps: an image without one has NaN there.
    inputs = {"images": batch.images, "stored": batch.stored}
    found = not_finite((name, t) for name, t in inputs.items() if t is not None)
    watch.bad_inputs += [name for name in found if name not in watch.bad_inputs]


def _grade(watch: Watch, name: str, parameter: nn.Parameter) -> None:
    gradient = parameter.grad
    if gradient is not None and not _finite(gradient) and name not in watch.bad_gradients:
        watch.bad_gradients.append(name)


def _tensors(value: object) -> Iterator[Tensor]:
    """Floating-point tensors of nested containers and records."""
    if isinstance(value, Tensor):
        if value.is_floating_point() and value.numel():
            yield value.detach()
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _tensors(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _tensors(item)
    elif is_dataclass(value):
        for part in fields(value):
            yield from _tensors(getattr(value, part.name))


def _finite(tensor: Tensor) -> bool:
    return not tensor.is_floating_point() or bool(tensor.isfinite().all())


def _largest(tensor: Tensor) -> float:
    return float(torch.nan_to_num(tensor, nan=0.0, posinf=0.0, neginf=0.0).abs().max())
