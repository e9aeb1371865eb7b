"""Two branches over disjoint rounds."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch.nn import functional

from mimlab_objectives.masking.disjoint import Disjoint, DisjointParams
from mimlab_objectives.masking.plan import MaskPlan, MaskRequest
from mimlab_objectives.objectives.base import Batch, Objective, ObjectiveOutput, Progress
from mimlab_objectives.objectives.dmjd import Dmjd

Batches = Callable[..., Batch]
START = Progress(step=0, fraction=0.0)


@pytest.fixture
def dmjd(build_named: Callable[..., Objective]) -> Dmjd:
    objective = build_named("dmjd")
    assert isinstance(objective, Dmjd)
    return objective


@pytest.fixture
def plan() -> MaskPlan:
    return Disjoint(DisjointParams(), (8, 8)).plan(MaskRequest(torch.arange(3)))


def test_every_patch_is_predicted_once_by_each_branch(
    dmjd: Dmjd, batch_of: Batches, plan: MaskPlan
) -> None:
    output = dmjd(batch_of(3), plan, START)
    assert output.per_patch_loss is not None
    assert (output.per_patch_loss > 0).any(1).all()
    hidden, visible = (output.terms[name][0] for name in ("hidden", "visible"))
    torch.testing.assert_close(output.loss_sum.detach(), hidden + visible)
    torch.testing.assert_close(output.per_patch_loss.sum(), hidden)


def test_the_visible_loss_is_that_of_the_kept_patches(
    dmjd: Dmjd, batch_of: Batches, plan: MaskPlan
) -> None:
    """A projector of zeros predicts 0: smooth absolute error of the targets themselves, β = 2."""
    last = dmjd.projector[-1]
    assert isinstance(last, torch.nn.Linear)
    torch.nn.init.zeros_(last.weight)
    torch.nn.init.zeros_(last.bias)
    batch = batch_of(3)
    total, count = dmjd(batch, plan, START).terms["visible"]
    target = dmjd.target.compute(batch.images)[:, None].expand(-1, 2, -1, -1)[~plan.hidden]
    expected = functional.smooth_l1_loss(torch.zeros_like(target), target, beta=2.0)
    torch.testing.assert_close(total / count, expected)


def test_neither_branch_pulls_on_the_others_head(
    dmjd: Dmjd, batch_of: Batches, plan: MaskPlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(weight: float) -> ObjectiveOutput:
        dmjd.zero_grad()
        monkeypatch.setattr(dmjd, "visible_weight", weight)
        output = dmjd(batch_of(3), plan, START)
        output.loss_sum.backward()
        return output

    def gradients(name: str) -> list[torch.Tensor]:
        part = dict(dmjd.named_children())[name]
        return [p.grad.clone() for p in part.parameters() if p.grad is not None]

    run(0.0)
    decoder = gradients("decoder")
    assert all((gradient == 0).all() for gradient in gradients("projector"))
    run(5.0)
    for before, after in zip(decoder, gradients("decoder"), strict=True):
        torch.testing.assert_close(before, after)
    assert any(gradient.abs().sum() > 0 for gradient in gradients("projector"))
