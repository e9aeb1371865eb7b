from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from mimlab_objectives.masking.plan import MaskPlan
from mimlab_objectives.objectives.base import Batch, Objective, Progress
from mimlab_objectives.objectives.ijepa import IJepa, IJepaParams
from mimlab_objectives.predictors.places import hidden_ids
from mimlab_objectives.registry import ParamsError

START = Progress(step=0, fraction=0.0)
Tiny = Callable[..., Objective]
Plans = Callable[..., MaskPlan]
Batches = Callable[..., Batch]


def ijepa_of(tiny: Tiny) -> IJepa:
    objective = tiny("ijepa", {"predictor_depth": 1, "predictor_width": 32})
    assert isinstance(objective, IJepa)
    return objective


def blocks_of(plan: MaskPlan, groups: int = 4) -> MaskPlan:
    """Hidden patches in equal groups that overlap by none."""
    ids = hidden_ids(plan)
    return replace(plan, groups=ids.unflatten(1, (groups, -1)))


def test_the_teachers_features_have_mean_0_and_variance_1(tiny: Tiny, batch_of: Batches) -> None:
    target = ijepa_of(tiny).teach(batch_of(2).images)
    assert target.shape == (2, 64, 64) and not target.requires_grad
    torch.testing.assert_close(target.mean(-1), torch.zeros(2, 64), rtol=0, atol=1e-5)
    variance = target.var(-1, correction=0)
    torch.testing.assert_close(variance, torch.ones(2, 64), rtol=1e-3, atol=0)


def test_each_block_is_predicted_by_itself(tiny: Tiny, batch_of: Batches, plan_of: Plans) -> None:
    ijepa, batch, plan = ijepa_of(tiny), batch_of(3), blocks_of(plan_of(3, 48))
    assert plan.groups is not None
    together = ijepa(batch, plan, START)
    alone = [ijepa(batch, replace(plan, groups=plan.groups[:, i : i + 1]), START) for i in range(4)]
    torch.testing.assert_close(together.loss_sum, sum((a.loss_sum for a in alone), torch.zeros(())))
    assert together.loss_count == 3 * 48 and alone[0].loss_count == 3 * 12
    one_group = ijepa(batch, plan_of(3, 48), START)
    assert not torch.allclose(one_group.loss_sum, together.loss_sum, rtol=1e-7)


def test_the_order_of_blocks_does_not_matter(tiny: Tiny, batch_of: Batches, plan_of: Plans) -> None:
    ijepa, batch, plan = ijepa_of(tiny), batch_of(3), blocks_of(plan_of(3, 48))
    assert plan.groups is not None
    other = replace(plan, groups=plan.groups[:, [2, 0, 3, 1]])
    one, two = ijepa(batch, plan, START), ijepa(batch, other, START)
    torch.testing.assert_close(one.loss_sum, two.loss_sum)
    torch.testing.assert_close(one.per_patch_loss, two.per_patch_loss)


def test_a_patch_of_two_blocks_counts_twice(tiny: Tiny, batch_of: Batches, plan_of: Plans) -> None:
    ijepa, batch, plan = ijepa_of(tiny), batch_of(2), plan_of(2, 48)
    ids = hidden_ids(plan)
    plan = replace(plan, groups=torch.stack([ids[:, :10], ids[:, 5:15]], dim=1))
    output = ijepa(batch, plan, START)
    assert output.loss_count == 2 * 20 and output.per_patch_loss is not None
    assert torch.equal((output.per_patch_loss[:, 0] > 0).sum(1), torch.tensor([15, 15]))


def test_hidden_pixels_change_the_target_and_not_the_prediction(
    tiny: Tiny, batch_of: Batches, plan_of: Plans
) -> None:
    ijepa, batch, plan = ijepa_of(tiny), batch_of(2), blocks_of(plan_of(2, 48))
    seen: list[Tensor] = []
    ijepa.predictor.register_forward_hook(lambda *call: seen.append(call[2]))
    pixels = plan.hidden[:, 0].unflatten(1, (8, 8)).repeat_interleave(4, 1).repeat_interleave(4, 2)
    noisy = Batch(batch.ids, torch.where(pixels[:, None], 2.0, batch.images))
    losses = [ijepa(images, plan, START).loss_sum for images in (batch, noisy)]
    assert torch.equal(seen[0], seen[1]) and losses[0] != losses[1]


@pytest.mark.parametrize(("fraction", "momentum"), [(0.0, 0.996), (0.5, 0.998), (1.0, 1.0)])
def test_the_teacher_follows_by_its_momentum(tiny: Tiny, fraction: float, momentum: float) -> None:
    ijepa = ijepa_of(tiny)
    old = {name: value.clone() for name, value in ijepa.teacher.module.state_dict().items()}
    with torch.no_grad():
        for parameter in ijepa.backbone.parameters():
            parameter.add_(torch.randn_like(parameter))
    ijepa.after_step(Progress(10, fraction))
    new = ijepa.backbone.state_dict()
    for name, value in ijepa.teacher.module.state_dict().items():
        expected = momentum * old[name] + (1 - momentum) * new[name]
        torch.testing.assert_close(value, expected, rtol=1e-5, atol=1e-6)


def test_the_teacher_starts_as_the_weights_that_training_starts_from(tiny: Tiny) -> None:
    ijepa = ijepa_of(tiny)
    with torch.no_grad():
        ijepa.backbone.vit.patch_embed.proj.weight.add_(1)
    ijepa.after_init()
    for own, theirs in zip(
        ijepa.teacher.module.parameters(), ijepa.backbone.parameters(), strict=True
    ):
        assert torch.equal(own, theirs) and not own.requires_grad


def test_diagnostics_tell_a_collapsed_teacher(
    tiny: Tiny, batch_of: Batches, plan_of: Plans
) -> None:
    ijepa, batch, plan = ijepa_of(tiny), batch_of(4), plan_of(4, 48)
    healthy = ijepa(batch, plan, START).diagnostics
    assert healthy.keys() == set(IJepa.diagnostics)
    with torch.no_grad():
        norm = ijepa.teacher.module.vit.norm
        assert isinstance(norm, torch.nn.LayerNorm)
        norm.weight.zero_()
        norm.bias.copy_(torch.randn(64))
    collapsed = ijepa(batch, plan, START).diagnostics
    assert collapsed["target_std"] < 1e-5 < healthy["target_std"]
    assert collapsed["cosine_across"] > 0.999 > healthy["cosine_across"]


def test_the_defaults_are_those_of_the_paper() -> None:
    params = IJepaParams()
    assert (params.predictor_depth, params.predictor_width) == (12, 384)
    assert (params.momentum, params.momentum_end) == (0.996, 1.0)


def test_heads_that_do_not_divide_are_refused(tiny: Tiny) -> None:
    with pytest.raises(ParamsError) as caught:
        tiny("ijepa", {"predictor_width": 32, "predictor_heads": 5})
    assert caught.value.field == "predictor_heads"
