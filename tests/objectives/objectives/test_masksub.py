from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from mimlab_objectives.backbones.vit import BackboneParams, VitBackbone
from mimlab_objectives.masking.plan import MaskPlan
from mimlab_objectives.objectives.base import Batch, Progress, objectives
from mimlab_objectives.objectives.masksub import MaskSub, MaskSubParams
from mimlab_objectives.targets.pixels import PixelParams, PixelTarget

START = Progress(step=0, fraction=0.0)
Batches = Callable[..., Batch]
Plans = Callable[..., MaskPlan]


def masksub_of(loss: str = "ce") -> MaskSub:
    torch.manual_seed(0)
    shape = {
        "name": "vit_tiny_patch16_224",
        "patch_size": 4,
        "embed_dim": 32,
        "num_heads": 2,
        "depth": 2,
    }
    backbone = VitBackbone(BackboneParams.model_validate(shape), 32)
    target = PixelTarget(PixelParams(), 4, backbone.grid)  # it has targets of its own
    return MaskSub(
        MaskSubParams.model_validate({"num_classes": 4, "loss": loss}), backbone, target
    ).eval()


def labelled(batch: Batch) -> Batch:
    return replace(batch, labels=batch.ids % 4)


def test_it_says_that_it_needs_labels() -> None:
    assert objectives["masksub"].part is MaskSub and MaskSub.uses_labels


def test_hiding_nothing_gives_the_entropy_of_its_own_answer(
    batch_of: Batches, plan_of: Plans
) -> None:
    objective, batch, plan = masksub_of(), labelled(batch_of(4)), plan_of(4, 0)
    torch.nn.init.normal_(objective.head.weight)
    main, sub = objective.logits(batch, plan)
    torch.testing.assert_close(sub[:, 0], main, rtol=1e-4, atol=1e-5)
    answer = main.softmax(-1)
    entropy = -(answer * answer.log()).sum(-1)
    total, count = objective(batch, plan, START).terms["sub"]
    torch.testing.assert_close(total / count, entropy.mean().detach(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("loss", ["ce", "bce"])
def test_the_masked_branch_teaches_through_its_own_pass_alone(
    batch_of: Batches, plan_of: Plans, loss: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The gradient on the whole image's logits is that of half the label loss, nothing more."""
    objective, batch, plan = masksub_of(loss), labelled(batch_of(4)), plan_of(4, 32)
    main, sub = (x.detach().requires_grad_() for x in objective.logits(batch, plan))
    monkeypatch.setattr(objective, "logits", lambda _batch, _plan: (main, sub))
    objective(batch, plan, START).loss_sum.backward()
    squash = main.detach().sigmoid() / 4 if loss == "bce" else main.detach().softmax(-1)
    wanted = torch.nn.functional.one_hot(batch.ids % 4, 4).float()
    wanted = wanted / 4 if loss == "bce" else wanted
    torch.testing.assert_close(main.grad, (squash - wanted) / 2)
    assert sub.grad is not None and sub.grad.abs().sum() > 0


def test_rounds_are_averaged_within_an_image(batch_of: Batches, plan_of: Plans) -> None:
    objective, batch = masksub_of(), labelled(batch_of(3))
    two = objective(batch, plan_of(3, 32, rounds=2), START)
    assert two.loss_count == 3
    label, sub = (total for total, _ in two.terms.values())
    torch.testing.assert_close(two.loss_sum.detach(), (label + sub) / 2)


def test_micro_batches_add_up(batch_of: Batches, plan_of: Plans) -> None:
    objective, batch, plan = masksub_of(), labelled(batch_of(6)), plan_of(6, 32)
    whole = objective(batch, plan, START)
    parts = [objective(batch.part(a, b), plan.part(a, b), START) for a, b in ((0, 2), (2, 6))]
    torch.testing.assert_close(parts[0].loss_sum + parts[1].loss_sum, whole.loss_sum)
    assert parts[0].loss_count + parts[1].loss_count == whole.loss_count == 6


def test_its_board_is_grey(batch_of: Batches, plan_of: Plans) -> None:
    picture = masksub_of().reconstruct(batch_of(2), plan_of(2, 32))
    assert picture.shape == (2, 1, 64, 48) and not picture.any()


def test_every_parameter_learns_and_so_do_eight_images(batch_of: Batches, plan_of: Plans) -> None:
    objective = masksub_of().train()
    batch, plan = labelled(batch_of(8)), plan_of(8, 32)
    optimizer = torch.optim.AdamW(objective.parameters(), 1e-3)
    output = objective(batch, plan, START)
    for _ in range(60):
        optimizer.zero_grad()
        output = objective(batch, plan, START)
        (output.loss_sum / output.loss_count).backward()
        for name, parameter in objective.named_parameters():
            assert parameter.grad is not None, name
        optimizer.step()
    label, _ = output.terms["label"]
    assert output.diagnostics["accuracy"] == 1 and label / 8 < 0.5
