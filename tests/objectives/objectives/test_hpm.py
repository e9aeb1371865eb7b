"""Hard patches mining."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from mimlab_objectives.masking.hard_patches import HardPatches, HardPatchesParams
from mimlab_objectives.masking.plan import MaskPlan, MaskRequest
from mimlab_objectives.objectives.base import Batch, Objective, Progress
from mimlab_objectives.objectives.hpm import Hpm

Batches = Callable[..., Batch]
START = Progress(step=0, fraction=0.0)


@pytest.fixture
def hpm(build_named: Callable[..., Objective]) -> Hpm:
    objective = build_named("hpm")
    assert isinstance(objective, Hpm)
    objective.after_init()
    return objective


def test_the_teacher_begins_as_the_student_and_moves_after_steps_only(
    hpm: Hpm, batch_of: Batches, plan_of: Callable[..., MaskPlan]
) -> None:
    student = hpm.scorer.get_parameter("head.weight")
    teacher = hpm.teacher_scorer.get_parameter("module.head.weight")
    assert torch.equal(student, teacher)
    with torch.no_grad():
        student += 1
    before = teacher.clone()
    hpm(batch_of(2), plan_of(2, 48), START)
    assert torch.equal(teacher, before)
    hpm.after_step(START)
    torch.testing.assert_close(teacher - before, torch.full_like(teacher, 0.001), rtol=1e-3, atol=0)
    hpm.after_step(Progress(step=9, fraction=0.5))  # the momentum is 0.9999 from the middle on
    torch.testing.assert_close(
        teacher - before, torch.full_like(teacher, 0.0011), rtol=1e-3, atol=1e-6
    )


def test_no_teacher_is_trained(hpm: Hpm) -> None:
    trained = {id(p) for group in hpm.param_groups() for p in group.params}
    for teacher in (hpm.teacher_backbone, hpm.teacher_scorer):
        assert not any(id(parameter) in trained for parameter in teacher.parameters())
        assert not teacher.module.training


def test_scores_of_whole_images_are_the_teachers(
    hpm: Hpm, batch_of: Batches, plan_of: Callable[..., MaskPlan]
) -> None:
    batch = batch_of(3)
    signals = hpm.signals(batch, frozenset({"patch_loss", "teacher_attention"}))
    assert {name: tuple(s.shape) for name, s in signals.items()} == {
        "patch_loss": (3, 64),
        "teacher_attention": (3, 64),
    }
    nothing = plan_of(3, 0)
    assert nothing.kept_ids is not None
    encoded = hpm.backbone.encode_visible(batch.images, nothing)
    expected = hpm.scorer(encoded, nothing.kept_ids[:, 0])[..., 0]
    torch.testing.assert_close(signals["patch_loss"], expected, rtol=1e-4, atol=1e-5)


def test_the_scores_choose_the_next_mask(hpm: Hpm, batch_of: Batches) -> None:
    batch = batch_of(3)
    signals = hpm.signals(batch, frozenset({"patch_loss"}))
    masking = HardPatches(HardPatchesParams(start=1, end=1), (8, 8))
    hidden = masking.plan(MaskRequest(batch.ids, signals=signals)).hidden[:, 0]
    scores = signals["patch_loss"]
    assert (scores[hidden].view(3, 48).amin(1) >= scores[~hidden].view(3, 16).amax(1)).all()


def test_the_loss_is_the_sum_of_its_terms(
    hpm: Hpm, batch_of: Batches, plan_of: Callable[..., MaskPlan]
) -> None:
    output = hpm(batch_of(4), plan_of(4, 48), START)
    ranking, count = output.terms["ranking"]
    assert 0.5 < float(ranking / count) < 1.2  # about log 2 at the beginning
    reconstruction, _ = output.terms["reconstruction"]
    torch.testing.assert_close(output.loss_sum.detach(), reconstruction + ranking)


def test_the_ranking_teaches_the_encoder_too(
    hpm: Hpm, batch_of: Batches, plan_of: Callable[..., MaskPlan]
) -> None:
    """With the first decoder's output silenced, only the ranking is left to pull."""
    for parameter in hpm.decoder.head.parameters():
        torch.nn.init.zeros_(parameter)
    hpm(batch_of(4), plan_of(4, 48), START).loss_sum.backward()
    gradient = hpm.backbone.vit.patch_embed.proj.weight.grad
    assert gradient is not None and gradient.abs().sum() > 0


def test_scores_learn_the_order_of_the_losses(
    build_named: Callable[..., Objective], plan_of: Callable[..., MaskPlan]
) -> None:
    """Half of each image is flat, half is noise that nobody can predict."""
    objective = build_named("hpm").train()
    generator = torch.Generator().manual_seed(0)
    images = torch.zeros(8, 3, 32, 32)
    images[..., 16:] = torch.randn(8, 3, 32, 16, generator=generator)
    optimizer = torch.optim.AdamW(objective.parameters(), lr=1e-3)
    costs = []
    for step in range(60):
        optimizer.zero_grad()
        output = objective(Batch(torch.arange(8), images), plan_of(8, 48, seed=step), START)
        (output.loss_sum / output.loss_count).backward()
        optimizer.step()
        costs.append(float(output.terms["ranking"][0] / output.terms["ranking"][1]))
    # half of the pairs are of equal kind, whose order is chance: log 2 of them remains
    assert sum(costs[-5:]) / 5 < 0.8 * sum(costs[:5]) / 5
