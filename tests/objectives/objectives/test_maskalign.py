from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.nn import functional

from mimlab_objectives.masking.plan import MaskPlan
from mimlab_objectives.objectives.base import Batch, Objective, Progress
from mimlab_objectives.objectives.maskalign import MaskAlign, MaskAlignParams
from mimlab_objectives.registry import ParamsError
from mimlab_objectives.teachers.attention import teacher_attention

START = Progress(step=0, fraction=0.0)
TEACHER = {
    "name": "vit_tiny_patch16_224",
    "weights": "random",
    "patch_size": 4,
    "embed_dim": 48,
    "depth": 3,
    "num_heads": 3,
}
Tiny = Callable[..., Objective]
Batches = Callable[..., Batch]
Plans = Callable[..., MaskPlan]


def maskalign_of(tiny: Tiny, seed: int = 0, **params: object) -> MaskAlign:
    given = {"teacher": TEACHER, "top_layers": 2, **params}
    objective = tiny("maskalign", given, seed=seed)
    assert isinstance(objective, MaskAlign)
    return objective


def test_the_target_is_the_normalised_teacher_at_kept_patches(
    tiny: Tiny, batch_of: Batches, plan_of: Plans
) -> None:
    maskalign, batch, plan = maskalign_of(tiny), batch_of(2), plan_of(2, 48)
    outputs: list[torch.Tensor] = []
    model: Any = maskalign.teacher.model_on(batch.images.device)
    for block in model.blocks:
        block.register_forward_hook(lambda *call: outputs.append(call[2]))
    target = maskalign.teach(batch.images, plan)
    assert plan.kept_ids is not None and target.shape == (2, 2, 17, 48)
    for layer, output in zip(target, outputs[1:], strict=True):
        whole = functional.layer_norm(output, (48,))
        for image in range(2):
            expected = torch.cat([whole[image, :1], whole[image, 1:][plan.kept_ids[image, 0]]])
            torch.testing.assert_close(layer[image], expected)


def test_the_loss_is_twice_smooth_l1_over_class_token_and_kept_patches(
    tiny: Tiny, batch_of: Batches, plan_of: Plans
) -> None:
    """Where errors are below 1 that is the squared error."""
    maskalign, batch, plan = maskalign_of(tiny), batch_of(3), plan_of(3, 48)
    with torch.no_grad():
        for adaptor in maskalign.adaptors:
            for parameter in adaptor.parameters():
                parameter.zero_()
    output = maskalign(batch, plan, START)
    assert output.loss_count == 3 * 17
    target = maskalign.teach(batch.images, plan)
    small = torch.where(target.abs() < 1, target.square(), 2 * target.abs() - 1)
    torch.testing.assert_close(output.loss_sum.detach(), small.mean((0, 3)).sum())


def test_losses_of_patches_stand_where_they_are_kept(
    tiny: Tiny, batch_of: Batches, plan_of: Plans
) -> None:
    output = maskalign_of(tiny)(batch_of(3), plan := plan_of(3, 48, rounds=2), START)
    assert output.per_patch_loss is not None and not output.per_patch_loss.requires_grad
    assert torch.equal(output.per_patch_loss > 0, ~plan.hidden)


def test_hiding_nothing_is_distillation_of_all_patches(
    tiny: Tiny, batch_of: Batches, plan_of: Plans
) -> None:
    output = maskalign_of(tiny)(batch_of(2), plan_of(2, 0), START)
    assert output.loss_count == 2 * 65


def test_hidden_pixels_reach_the_teacher_alone(
    tiny: Tiny, batch_of: Batches, plan_of: Plans
) -> None:
    maskalign, batch, plan = maskalign_of(tiny), batch_of(2), plan_of(2, 48)
    pixels = plan.hidden[:, 0].unflatten(1, (8, 8)).repeat_interleave(4, 1).repeat_interleave(4, 2)
    noisy = Batch(batch.ids, torch.where(pixels[:, None], 2.0, batch.images))
    assert torch.equal(maskalign.reconstruct(noisy, plan), maskalign.reconstruct(batch, plan))
    assert maskalign(noisy, plan, START).loss_sum != maskalign(batch, plan, START).loss_sum


def test_every_trainable_parameter_learns_and_nothing_else(
    tiny: Tiny, batch_of: Batches, plan_of: Plans
) -> None:
    maskalign = maskalign_of(tiny)
    torch.testing.assert_close(maskalign.mixing.detach(), torch.eye(2) + 0.01)
    maskalign(batch_of(4), plan_of(4, 48), START).loss_sum.backward()
    for name, parameter in maskalign.named_parameters():
        learns = parameter.grad is not None and bool(parameter.grad.abs().sum() > 0)
        assert learns == parameter.requires_grad, name
        assert not name.startswith("teacher.")


def test_micro_batches_add_up_to_the_whole(tiny: Tiny, batch_of: Batches, plan_of: Plans) -> None:
    maskalign, batch, plan = maskalign_of(tiny), batch_of(6), plan_of(6, 48, rounds=2)
    whole = maskalign(batch, plan, START)
    parts = [maskalign(batch.part(a, b), plan.part(a, b), START) for a, b in ((0, 2), (2, 6))]
    total = sum((part.loss_sum for part in parts), torch.zeros(()))
    torch.testing.assert_close(total, whole.loss_sum, rtol=1e-5, atol=0)
    assert parts[0].loss_count + parts[1].loss_count == whole.loss_count


def test_the_state_dict_is_the_whole_state(tiny: Tiny, batch_of: Batches, plan_of: Plans) -> None:
    first, second = maskalign_of(tiny, seed=1), maskalign_of(tiny, seed=2)
    batch, plan = batch_of(4), plan_of(4, 48)
    second.load_state_dict(first.state_dict())
    assert torch.equal(first(batch, plan, START).loss_sum, second(batch, plan, START).loss_sum)


def test_it_neither_waits_for_the_device_nor_leaves_float32_for_its_loss(
    tiny: Tiny, batch_of: Batches, plan_of: Plans
) -> None:
    maskalign, batch, plan = maskalign_of(tiny), batch_of(2), plan_of(2, 48)
    exact = maskalign(batch, plan, START).loss_sum
    with torch.autocast("cpu", torch.bfloat16):
        rough = maskalign(batch, plan, START).loss_sum
    torch.testing.assert_close(rough, exact, rtol=0.02, atol=0)
    on_meta = Batch(batch.ids.to("meta"), batch.images.to("meta"))
    maskalign.to("meta")(on_meta, plan.to(torch.device("meta")), START).loss_sum.backward()


def test_eight_images_can_be_learned_by_heart(
    tiny: Tiny, batch_of: Batches, plan_of: Plans
) -> None:
    maskalign, batch, plan = maskalign_of(tiny).train(), batch_of(8, detail=2), plan_of(8, 48)
    optimizer = torch.optim.AdamW(maskalign.parameters(), 1e-3)
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        output = maskalign(batch, plan, START)
        (loss := output.loss_sum / output.loss_count).backward()
        optimizer.step()
        losses.append(loss.detach())
    assert losses[-1] < losses[0] / 3


def test_the_mixing_matrix_does_not_decay(tiny: Tiny) -> None:
    maskalign = maskalign_of(tiny)
    decayed, plain = maskalign.param_groups()
    assert any(p is maskalign.mixing for p in plain.params) and not plain.decay
    assert all(p is not maskalign.mixing for p in decayed.params) and decayed.decay


def test_signals_are_the_teachers_attention_and_the_encoders_features(
    tiny: Tiny, batch_of: Batches
) -> None:
    maskalign, batch = maskalign_of(tiny).train(), batch_of(2)
    found = maskalign.signals(batch, MaskAlign.supplies)
    attention = teacher_attention(maskalign.teacher, batch.images)
    torch.testing.assert_close(found["teacher_attention"], attention)
    assert found["features"].shape == (2, 64, 64)


@pytest.mark.parametrize(
    ("name", "layer", "top_layers"),
    [("resnet18", 1, 1), ("beit_base_patch16_224", 1, 2), ("convnext_atto", 1, 1)],
)
def test_any_timm_model_teaches_and_those_that_are_no_plain_transformers_tell_no_attention(
    tiny: Tiny, batch_of: Batches, plan_of: Plans, name: str, layer: int, top_layers: int
) -> None:
    teacher = {"name": name, "weights": "random", "layer": layer}
    maskalign = maskalign_of(tiny, teacher=teacher, top_layers=top_layers)
    batch, plan = batch_of(2), plan_of(2, 48)
    class_token = int(name.startswith("beit"))
    assert maskalign.teach(batch.images, plan).shape[:3] == (top_layers, 2, 16 + class_token)
    output = maskalign(batch, plan, START)
    assert output.loss_count == 2 * (16 + class_token)
    output.loss_sum.backward()
    params = MaskAlignParams.model_validate({"teacher": teacher})
    assert MaskAlign.supplies_with(params) == {"features"}
    assert MaskAlign.supplies_with(MaskAlignParams()) == MaskAlign.supplies


def test_more_layers_than_there_are_is_refused(tiny: Tiny) -> None:
    resnet = {"name": "resnet18", "weights": "random", "layer": 2}
    for teacher, top_layers, message in (
        (TEACHER, 3, "the encoder has 2 blocks and the teacher 3 last layers"),
        (resnet, 2, "the teacher 1 last layers of one grid and width: 2 is more"),
    ):
        with pytest.raises(ParamsError, match=message) as caught:
            maskalign_of(tiny, teacher=teacher, top_layers=top_layers)
        assert caught.value.field == "top_layers"
    with pytest.raises(ParamsError, match="timm knows no model") as caught:
        maskalign_of(tiny, teacher={**TEACHER, "name": "vit_tinny_patch16_224"})
    assert caught.value.field == "teacher.name"


def test_the_defaults_are_those_of_the_paper() -> None:
    params = MaskAlignParams()
    assert params.top_layers == 5 and params.teacher.name == "vit_base_patch16_clip_224"
    assert params.teacher.weights == "timm"
