from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from mimlab_objectives.masking.plan import MaskPlan
from mimlab_objectives.masking.select import plan_of_hidden
from mimlab_objectives.objectives.base import Batch, Objective, Progress
from mimlab_objectives.objectives.data2vec import Data2Vec
from mimlab_objectives.registry import ParamsError

START = Progress(step=0, fraction=0.0)
Tiny = Callable[..., Objective]


def data2vec_of(tiny: Tiny, **params: object) -> Data2Vec:
    objective = tiny("data2vec", params)
    assert isinstance(objective, Data2Vec)
    return objective


@pytest.mark.parametrize("layers", [1, 2])
def test_the_target_is_the_normalised_mean_of_normalised_last_blocks(
    tiny: Tiny, batch_of: Callable[..., Batch], layers: int
) -> None:
    data2vec, images = data2vec_of(tiny, target_layers=layers), batch_of(2).images
    outputs: list[Tensor] = []
    for block in data2vec.teacher.module.blocks:
        block.register_forward_hook(lambda *call: outputs.append(call[2]))
    target = data2vec.teach(images)
    normalised = [functional.layer_norm(o[:, 1:], (64,)) for o in outputs[-layers:]]
    mean = torch.stack(normalised).mean(0)
    torch.testing.assert_close(target, functional.layer_norm(mean, (64,)))


def test_an_error_below_beta_costs_its_square_over_two_beta(
    tiny: Tiny, batch_of: Callable[..., Batch], plan_of: Callable[..., MaskPlan]
) -> None:
    """A head of zeros predicts 0, and targets of variance 1 have small numbers mostly."""
    data2vec, batch, plan = data2vec_of(tiny, beta=100.0), batch_of(2), plan_of(2, 40)
    with torch.no_grad():
        data2vec.head.weight.zero_()
        data2vec.head.bias.zero_()
    output = data2vec(batch, plan, START)
    loss = float((output.loss_sum / output.loss_count).detach())
    assert loss == pytest.approx(1 / 200, rel=1e-3)


def test_images_may_hide_different_numbers_of_patches(
    tiny: Tiny, batch_of: Callable[..., Batch]
) -> None:
    hidden = torch.arange(64) < torch.tensor([[10], [50]])
    plan = plan_of_hidden(hidden, (8, 8), torch.arange(2), num_hidden=None)
    assert data2vec_of(tiny)(batch_of(2), plan, START).loss_count == 60


def test_the_teacher_follows_slowly(tiny: Tiny) -> None:
    data2vec = data2vec_of(tiny, momentum=0.5, momentum_end=1.0)
    weight = data2vec.backbone.vit.patch_embed.proj.weight
    own = data2vec.teacher.module.vit.patch_embed.proj.weight
    old = own.clone()
    with torch.no_grad():
        weight.add_(1)
    data2vec.after_step(Progress(1, 0.5))
    torch.testing.assert_close(own, old + 0.25)


def test_more_layers_than_the_encoder_has_are_refused(tiny: Tiny) -> None:
    with pytest.raises(ParamsError, match="2 blocks") as caught:
        data2vec_of(tiny, target_layers=3)
    assert caught.value.field == "target_layers"
