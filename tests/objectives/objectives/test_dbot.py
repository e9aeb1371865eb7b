from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch

from mimlab.train.schedule import CosineSchedule
from mimlab_objectives.backbones.vit import BackboneParams
from mimlab_objectives.masking.plan import MaskPlan
from mimlab_objectives.objectives.base import Batch, Objective, Progress
from mimlab_objectives.objectives.dbot import DBot
from mimlab_objectives.registry import ParamsError
from mimlab_objectives.teachers.latents import standardise

START = Progress(step=0, fraction=0.0)
Tiny = Callable[..., Objective]


def dbot_of(tiny: Tiny, seed: int = 0, **params: object) -> DBot:
    narrow = {"decoder_depth": 1, "decoder_width": 32, "decoder_heads": 2}
    objective = tiny("dbot", {**narrow, **params}, seed=seed)
    assert isinstance(objective, DBot)
    return objective


def weights(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def equal(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> bool:
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def train_a_little(dbot: DBot) -> None:
    with torch.no_grad():
        for parameter in dbot.parameters():
            if parameter.requires_grad:
                parameter.mul_(1.5)


@pytest.mark.parametrize(("total", "stages"), [(10, 2), (11, 2), (20, 3), (9, 1), (7, 3)])
def test_a_stage_begins_where_the_learning_rate_begins_anew(
    tiny: Tiny, total: int, stages: int
) -> None:
    dbot = dbot_of(tiny, stages=stages)
    schedule = CosineSchedule(1.0, 0.0, warmup_steps=2, total_steps=total, stages=stages)
    switches: list[int] = []
    for step in range(total):
        before = weights(dbot.teacher)
        train_a_little(dbot)
        dbot.after_step(Progress(step, step / total))
        if not equal(before, weights(dbot.teacher)):
            switches.append(step + 1)
    assert switches == [step for step in range(1, total) if schedule.lr(step) == 0]
    assert len(switches) == stages - 1


def test_the_student_becomes_the_teacher_and_is_drawn_anew(tiny: Tiny) -> None:
    dbot = dbot_of(tiny)
    first = weights(dbot.backbone)
    assert equal(weights(dbot.teacher.module), first)
    train_a_little(dbot)
    student, decoder = weights(dbot.backbone), weights(dbot.decoder)
    dbot.after_step(Progress(4, 0.4))
    assert equal(weights(dbot.teacher.module), student)
    for name, parameter in dbot.named_parameters():
        if parameter.requires_grad and parameter.ndim > 1:
            old = first if name.startswith("backbone.") else decoder
            assert not torch.equal(parameter, old[name.split(".", 1)[1]]), name
    norm = dbot.backbone.vit.norm.state_dict()
    assert torch.equal(norm["weight"], torch.ones(64)) and not norm["bias"].any()
    assert torch.equal(dbot.backbone.positions(), first["vit.pos_embed"][0, 1:])


def test_a_resume_at_any_step_draws_the_same_student(tiny: Tiny) -> None:
    straight = dbot_of(tiny, seed=1)
    for step in range(3):
        straight.after_step(Progress(step, step / 10))
    saved = copy.deepcopy(straight.state_dict())
    resumed = dbot_of(tiny, seed=2)
    resumed.load_state_dict(saved)
    for dbot in (straight, resumed):
        torch.manual_seed(id(dbot))  # no generator outside matters
        for step in range(3, 10):
            dbot.after_step(Progress(step, step / 10))
    assert equal(straight.state_dict(), resumed.state_dict())
    other = dbot_of(tiny, seed=3)
    other.after_step(Progress(4, 0.4))
    assert not equal(weights(other.backbone), weights(straight.backbone))


def test_the_draw_leaves_the_global_generator_alone(tiny: Tiny) -> None:
    dbot = dbot_of(tiny)
    state = torch.get_rng_state()
    dbot.after_step(Progress(4, 0.4))
    assert torch.equal(torch.get_rng_state(), state)


def test_a_teacher_without_blocks_gives_embedded_patches(
    tiny: Tiny, batch_of: Callable[..., Batch]
) -> None:
    dbot, images = dbot_of(tiny, teacher_depth=0), batch_of(2).images
    embedded = dbot.teacher.module.embed(dbot.teacher.module.patch_tokens(images))
    torch.testing.assert_close(dbot.teach(images), standardise(embedded))


def test_the_class_token_counts_as_a_patch(
    tiny: Tiny, batch_of: Callable[..., Batch], plan_of: Callable[..., MaskPlan]
) -> None:
    dbot, batch, plan = dbot_of(tiny), batch_of(3), plan_of(3, 48, rounds=2)
    output = dbot(batch, plan, START)
    assert output.loss_count == 3 * 2 * 49 and output.per_patch_loss is not None
    (patches, num_patches), (token, num_tokens) = (output.terms[n] for n in DBot.terms)
    assert num_patches == 3 * 2 * 48 and num_tokens == 3 * 2
    torch.testing.assert_close(patches, output.per_patch_loss.sum())
    torch.testing.assert_close(patches + token, output.loss_sum.detach())
    without = dbot_of(tiny, class_token=False)(batch, plan, START)
    torch.testing.assert_close(without.loss_sum.detach(), patches)
    assert without.loss_count == num_patches


def test_predicting_zero_costs_what_the_unbiased_variance_says(
    tiny: Tiny, batch_of: Callable[..., Batch], plan_of: Callable[..., MaskPlan]
) -> None:
    """Below β the cost of an error is its square ÷ 2β, on average (D − 1) / D ÷ 2β."""
    dbot = dbot_of(tiny, beta=100.0)
    with torch.no_grad():
        dbot.decoder.get_parameter("head.weight").zero_()
        dbot.decoder.get_parameter("head.bias").zero_()
    output = dbot(batch_of(2), plan_of(2, 48), START)
    loss = float((output.loss_sum / output.loss_count).detach())
    assert loss == pytest.approx(63 / 64 / 200, rel=1e-3)


def test_what_the_encoder_does_not_have_is_refused(tiny: Tiny) -> None:
    with pytest.raises(ParamsError, match="2 blocks") as caught:
        dbot_of(tiny, teacher_depth=3)
    assert caught.value.field == "teacher_depth"
    no_class = BackboneParams(
        name="vit_medium_patch16_gap_240", patch_size=4, embed_dim=64, depth=2, num_heads=2
    )
    with pytest.raises(ParamsError, match="no class token") as caught:
        tiny("dbot", {"class_token": True}, backbone=no_class)
    assert caught.value.field == "class_token"
