"""What every objective promises, whatever it computes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from mimlab_objectives.masking.plan import MaskPlan
from mimlab_objectives.objectives.base import (
    Batch,
    Objective,
    ObjectiveOutput,
    Progress,
    objectives,
)
from mimlab_objectives.objectives.mae import Mae
from mimlab_objectives.objectives.simmim import SimMim

Build = Callable[..., Objective]
Batches = Callable[..., Batch]
Plans = Callable[..., MaskPlan]
START = Progress(step=0, fraction=0.0)


def predictor_of(objective: Objective) -> nn.Module:
    names = ("decoder", "predictor", "head")
    return next(getattr(objective, name) for name in names if hasattr(objective, name))


def patch_loss_of(objective: Objective, output: ObjectiveOutput) -> Tensor:
    """The sum over patches: the whole loss, or a term where others are not of patches."""
    if objective.patch_term is None:
        return output.loss_sum.detach()
    return output.terms[objective.patch_term][0]


def part_of(plan: MaskPlan, number: int) -> MaskPlan:
    """One round of a plan."""
    names = ("hidden", "kept_ids", "restore_ids", "predicted", "weight", "repaired")
    return replace(plan, **{name: getattr(plan, name)[:, number : number + 1] for name in names})


def test_registered_names_build_their_classes() -> None:
    assert objectives["mae"].part is Mae and objectives["simmim"].part is SimMim
    assert objectives["mae"].part.mode == "visible" and objectives["simmim"].part.mode == "full"


@pytest.mark.parametrize("num_hidden", [1, 26, 48, 58, 63])
def test_hidden_pixels_change_no_bit_of_the_prediction(
    build: Build, batch_of: Batches, plan_of: Plans, num_hidden: int
) -> None:
    objective, batch, plan = build("none"), batch_of(4), plan_of(4, num_hidden)
    pixels = plan.hidden[:, 0].unflatten(1, (8, 8)).repeat_interleave(4, 1).repeat_interleave(4, 2)
    noise = torch.randn_like(batch.images)
    noisy = Batch(batch.ids, torch.where(pixels[:, None], noise, batch.images))
    assert torch.equal(objective.reconstruct(noisy, plan), objective.reconstruct(batch, plan))


def test_only_predicted_patches_pull_on_the_prediction(
    build: Build, batch_of: Batches, plan_of: Plans
) -> None:
    objective, batch, plan = build(), batch_of(4), plan_of(4, 48)
    if objective.loss_scope == "image":
        pytest.skip("its loss compares all hidden patches of an image")
    predicted = plan.hidden & (torch.arange(64) % 3 == 0)
    plan = replace(plan, predicted=predicted, weight=predicted.float())
    seen: list[Tensor] = []

    def keep(_module: nn.Module, _inputs: object, prediction: Tensor) -> None:
        prediction.retain_grad()
        seen.append(prediction)

    predictor_of(objective).register_forward_hook(keep)
    output = objective(batch, plan, START)
    output.loss_sum.backward()
    gradient = seen[0].grad
    assert gradient is not None
    pulled = gradient.abs().sum(-1) > 0
    if objective.mode == "permuted":  # rows are the hidden patches, in an order of their own
        assert torch.equal(pulled.sum(1), predicted[:, 0].sum(1))
    else:
        if pulled.shape[1] == 48:  # it predicts hidden patches only
            pulled = torch.zeros_like(plan.hidden[:, 0]).masked_scatter(plan.hidden[:, 0], pulled)
        assert torch.equal(pulled, predicted[:, 0])
    assert output.per_patch_loss is not None
    assert torch.equal(output.per_patch_loss > 0, predicted)


def test_every_trainable_parameter_learns_and_nothing_else(
    build: Build, batch_of: Batches, plan_of: Plans
) -> None:
    objective = build()
    objective(batch_of(4), plan_of(4, 48), START).loss_sum.backward()
    for name, parameter in objective.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name
        else:
            assert parameter.grad is None, name


@pytest.mark.parametrize("rounds", [1, 2])
def test_the_loss_is_the_mean_of_the_patch_losses(
    build: Build, batch_of: Batches, plan_of: Plans, rounds: int
) -> None:
    objective = build()
    output = objective(batch_of(4), plan_of(4, 48, rounds=rounds), START)
    assert set(output.terms) == set(objective.terms)
    assert output.per_patch_loss is not None and not output.per_patch_loss.requires_grad
    assert output.per_patch_loss.shape == (4, rounds, 64)
    assert float(output.loss_count) == 4 * rounds * 48
    torch.testing.assert_close(output.per_patch_loss.sum(), patch_loss_of(objective, output))


def test_weights_scale_patches(build: Build, batch_of: Batches, plan_of: Plans) -> None:
    objective, batch, plan = build(), batch_of(2), plan_of(2, 32)
    doubled = replace(plan, weight=2 * plan.weight)
    once, twice = objective(batch, plan, START), objective(batch, doubled, START)
    torch.testing.assert_close(twice.loss_sum, 2 * once.loss_sum)
    assert twice.loss_count == 2 * once.loss_count
    torch.testing.assert_close(twice.per_patch_loss, once.per_patch_loss)


def test_micro_batches_add_up_to_the_whole(build: Build, batch_of: Batches, plan_of: Plans) -> None:
    objective, batch, plan = build(), batch_of(6), plan_of(6, 48, rounds=2)
    if objective.loss_scope == "batch":
        pytest.skip("its loss compares the images of a micro-batch")
    whole = objective(batch, plan, START)
    parts = [objective(batch.part(a, b), plan.part(a, b), START) for a, b in ((0, 2), (2, 6))]
    # matrix products of other sizes may sum in another order
    torch.testing.assert_close(
        sum((part.loss_sum for part in parts), torch.zeros(())), whole.loss_sum, rtol=1e-5, atol=0
    )
    assert parts[0].loss_count + parts[1].loss_count == whole.loss_count


def test_two_rounds_equal_two_plans(build: Build, batch_of: Batches, plan_of: Plans) -> None:
    objective, batch, plan = build(), batch_of(3), plan_of(3, 48, rounds=2)
    both = objective(batch, plan, START).per_patch_loss
    pixels = objective.reconstruct(batch, plan)
    assert both is not None
    for number in range(2):
        part = part_of(plan, number)
        alone = objective(batch, part, START).per_patch_loss
        torch.testing.assert_close(both[:, number : number + 1], alone, rtol=1e-4, atol=1e-6)
        if objective.target.kind == "latent":  # colours of features are those of a whole board
            continue
        torch.testing.assert_close(
            pixels[:, number : number + 1], objective.reconstruct(batch, part), rtol=1e-4, atol=1e-5
        )


def test_hiding_nothing_gives_zero_over_zero_not_nan(
    build: Build, batch_of: Batches, plan_of: Plans
) -> None:
    output = build()(batch_of(2), plan_of(2, 0), START)
    assert output.loss_sum == 0 and output.loss_count == 0


def test_one_patch_more_or_less_is_no_special_case(
    build: Build, batch_of: Batches, plan_of: Plans
) -> None:
    for num_hidden in (1, 63):
        output = build()(batch_of(2), plan_of(2, num_hidden), START)
        assert torch.isfinite(output.loss_sum) and output.loss_count == 2 * num_hidden


def test_neither_pass_waits_for_the_device(build: Build, batch_of: Batches, plan_of: Plans) -> None:
    """Meta tensors have no values: an `.item()` or a data-dependent shape would raise."""
    objective, batch = build().to("meta"), batch_of(2)
    on_meta = Batch(batch.ids.to("meta"), batch.images.to("meta"))
    output = objective(on_meta, plan_of(2, 48, rounds=2).to(torch.device("meta")), START)
    output.loss_sum.backward()


def test_the_state_dict_is_the_whole_state(build: Build, batch_of: Batches, plan_of: Plans) -> None:
    first, second = build(seed=1), build(seed=2)
    batch, plan = batch_of(4), plan_of(4, 48)
    assert first(batch, plan, START).loss_sum != second(batch, plan, START).loss_sum
    second.load_state_dict(first.state_dict())
    assert torch.equal(first(batch, plan, START).loss_sum, second(batch, plan, START).loss_sum)


def test_the_same_seed_gives_the_same_loss(build: Build, batch_of: Batches, plan_of: Plans) -> None:
    batch, plan = batch_of(4), plan_of(4, 48)
    losses = [build(seed=3)(batch, plan, START).loss_sum for _ in range(2)]
    assert torch.equal(*losses)


def test_bfloat16_keeps_the_loss_in_float32(
    build: Build, batch_of: Batches, plan_of: Plans
) -> None:
    objective, batch, plan = build(), batch_of(4), plan_of(4, 48, rounds=2)
    exact = objective(batch, plan, START)
    with torch.autocast("cpu", torch.bfloat16):
        output = objective(batch, plan, START)
    output.loss_sum.backward()
    assert output.loss_sum.dtype == torch.float32 and output.per_patch_loss is not None
    assert output.per_patch_loss.dtype == torch.float32
    # 8 bits of mantissa: errors of some 0.4 % a value, far less in a mean over 18,432 of them
    torch.testing.assert_close(output.loss_sum, exact.loss_sum, rtol=0.01, atol=0)
    assert all(torch.isfinite(p.grad).all() for p in objective.parameters() if p.grad is not None)


def test_decay_falls_on_matrices_alone(build: Build) -> None:
    objective = build()
    if type(objective).param_groups is not Objective.param_groups:
        pytest.skip("it has groups of its own")
    names = {id(parameter): name for name, parameter in objective.named_parameters()}
    decayed, plain = (
        {names[id(parameter)] for parameter in group.params} for group in objective.param_groups()
    )
    assert [group.decay for group in objective.param_groups()] == [True, False]
    matrices = {
        f"{name}.weight"
        for name, module in objective.named_modules()
        if isinstance(module, nn.Linear | nn.Conv2d)
    }
    trainable = {name for name, p in objective.named_parameters() if p.requires_grad}
    assert decayed == matrices & trainable
    assert plain == trainable - matrices
    assert "backbone.vit.cls_token" in plain
    assert any(name.endswith("mask_token") for name in plain)
    assert ("backbone.vit.pos_embed" in plain) == (objective.mode != "visible")


def test_eight_images_can_be_learned_by_heart(
    build: Build, batch_of: Batches, plan_of: Plans
) -> None:
    objective, batch, plan = build("none").train(), batch_of(8, detail=2), plan_of(8, 48)
    optimizer = torch.optim.AdamW(objective.parameters(), betas=(0.9, 0.95))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=200, pct_start=0.1)
    losses = []
    for _ in range(200):
        optimizer.zero_grad()
        output = objective(batch, plan, START)
        loss = output.loss_sum / output.loss_count
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(patch_loss_of(objective, output) / output.loss_count)
    # what is compared within an image or a batch costs its entropy even when it is known by heart
    assert losses[-1] < losses[0] / {"patch": 10, "image": 1.3, "batch": 2}[objective.loss_scope]
