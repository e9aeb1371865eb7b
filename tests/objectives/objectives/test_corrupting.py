"""What every objective promises that undoes a degradation, under every masking that gives one."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import pytest
import torch

from mimlab_objectives.masking.plan import MaskPlan, MaskRequest, maskings
from mimlab_objectives.objectives.base import Batch, Objective, Progress, objectives
from mimlab_objectives.registry import import_all

for room in ("masking", "objectives"):
    import_all(f"mimlab_objectives.{room}")

Batches = Callable[..., Batch]
START = Progress(step=0, fraction=0.0)
PARAMS: dict[str, dict[str, float]] = {"frequency": {"radius": 4.0}, "projection": {"bucket": 4}}
"""Of maskings whose own are for larger images."""
PAIRS = [
    (objective.name, masking.name)
    for objective in objectives.entries()
    for masking in maskings.entries()
    if masking.part.application in objective.part.applications - {"hide"}
    and masking.part.requires <= {"pixels"}
]


class Pair(NamedTuple):
    """An objective and plans for it."""

    build: Callable[..., Objective]
    plan: Callable[[Batch], MaskPlan]


@pytest.fixture(params=PAIRS, ids="-".join)
def pair(request: pytest.FixtureRequest, build_named: Callable[..., Objective]) -> Pair:
    objective, masking = request.param
    entry = maskings[masking]
    part = entry.part(entry.params.model_validate(PARAMS.get(masking, {})), (8, 8))

    def plan(batch: Batch) -> MaskPlan:
        return part.plan(MaskRequest(batch.ids, signals={"pixels": batch.images}))

    return Pair(partial(build_named, objective), plan)


def test_every_such_objective_has_a_masking() -> None:
    degrading = {o.name for o in objectives.entries() if "hide" not in o.part.applications}
    assert degrading == {objective for objective, _ in PAIRS} >= {"gmml", "a2mim", "mfm", "ropim"}


def test_every_parameter_learns(pair: Pair, batch_of: Batches) -> None:
    objective, batch = pair.build(), batch_of(4)
    output = objective(batch, pair.plan(batch), START)
    assert set(output.terms) == set(objective.terms)
    output.loss_sum.backward()
    for name, parameter in objective.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


def test_patch_losses_average_to_the_loss(pair: Pair, batch_of: Batches) -> None:
    objective, batch = pair.build(), batch_of(4)
    plan = pair.plan(batch)
    output = objective(batch, plan, START)
    if output.per_patch_loss is None:
        return
    first = objective.terms[:1]
    total = output.terms[first[0]][0] if first else output.loss_sum.detach()
    assert not output.per_patch_loss.requires_grad
    torch.testing.assert_close((output.per_patch_loss * plan.weight).sum(), total)
    torch.testing.assert_close(output.loss_count, plan.weight.sum())


def test_micro_batches_add_up_to_the_whole(pair: Pair, batch_of: Batches) -> None:
    objective, batch = pair.build(), batch_of(6)
    plan = pair.plan(batch)
    whole = objective(batch, plan, START)
    parts = [objective(batch.part(a, b), plan.part(a, b), START) for a, b in ((0, 1), (1, 6))]
    total, count = (sum(getattr(p, n) for p in parts) for n in ("loss_sum", "loss_count"))
    torch.testing.assert_close(total, whole.loss_sum, rtol=1e-5, atol=0)
    torch.testing.assert_close(count, whole.loss_count)


def test_reconstructions_are_pixels_of_every_patch(pair: Pair, batch_of: Batches) -> None:
    objective, batch = pair.build(), batch_of(4)
    assert objective.reconstruct(batch, pair.plan(batch)).shape == (4, 1, 64, 48)


def test_neither_pass_waits_for_the_device(pair: Pair, batch_of: Batches) -> None:
    """Meta tensors have no values: an `.item()` or a data-dependent shape would raise."""
    objective, batch = pair.build().to("meta"), batch_of(2)
    on_meta = Batch(batch.ids.to("meta"), batch.images.to("meta"))
    objective(on_meta, pair.plan(batch).to(torch.device("meta")), START).loss_sum.backward()


def test_bfloat16_keeps_the_loss_in_float32(pair: Pair, batch_of: Batches) -> None:
    objective, batch = pair.build(), batch_of(4)
    plan = pair.plan(batch)
    exact = objective(batch, plan, START)
    with torch.autocast("cpu", torch.bfloat16):
        output = objective(batch, plan, START)
    output.loss_sum.backward()
    assert output.loss_sum.dtype == torch.float32
    torch.testing.assert_close(output.loss_sum, exact.loss_sum, rtol=0.02, atol=0)


def test_the_state_dict_is_the_whole_state(pair: Pair, batch_of: Batches) -> None:
    first, second, batch = pair.build(seed=1), pair.build(seed=2), batch_of(4)
    plan = pair.plan(batch)
    assert first(batch, plan, START).loss_sum != second(batch, plan, START).loss_sum
    second.load_state_dict(first.state_dict())
    assert torch.equal(first(batch, plan, START).loss_sum, second(batch, plan, START).loss_sum)


def test_eight_images_can_be_learned_by_heart(pair: Pair, batch_of: Batches) -> None:
    objective, batch = pair.build().train(), batch_of(8, detail=2)
    plan = pair.plan(batch)
    optimizer = torch.optim.AdamW(objective.parameters(), betas=(0.9, 0.95))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=150, pct_start=0.1)
    losses = []
    for _ in range(150):
        optimizer.zero_grad()
        output = objective(batch, plan, START)
        loss = output.loss_sum / output.loss_count
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0] / 5
