from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import ClassVar

import pytest
import torch
from torch import Tensor

from mimlab_objectives.backbones.vit import BackboneParams, VitBackbone
from mimlab_objectives.masking.plan import MaskPlan
from mimlab_objectives.masking.select import select
from mimlab_objectives.objectives.base import Batch, Progress, objectives
from mimlab_objectives.objectives.mage import Mage, MageParams
from mimlab_objectives.registry import Params, ParamsError
from mimlab_objectives.targets.base import Target, TargetKind
from mimlab_objectives.targets.pixels import patchify

START = Progress(step=0, fraction=0.0)
CLASSES = 16
Batches = Callable[..., Batch]


class Brightness(Target):
    """16 classes of mean brightness: codes that need no training."""

    kind: ClassVar[TargetKind] = "classes"

    def __init__(self) -> None:
        super().__init__(Params(), 4, (8, 8))
        self.dim = CLASSES

    def compute(self, images: Tensor) -> Tensor:
        mean = patchify(images, self.patch_size).mean(-1)
        return ((mean + 2) / 4 * CLASSES).long().clamp(0, CLASSES - 1)

    def to_pixels(self, prediction: Tensor, images: Tensor) -> Tensor:  # noqa: ARG002
        mean = prediction.argmax(-1).float() / CLASSES * 4 - 2
        return mean[..., None].expand(*mean.shape, 3 * self.patch_size**2)


def mage_of(seed: int = 0, name: str = "vit_tiny_patch16_224", **params: float) -> Mage:
    torch.manual_seed(seed)
    shape = {"patch_size": 4, "embed_dim": 32, "num_heads": 2, "depth": 2}
    backbone = VitBackbone(BackboneParams.model_validate({"name": name} | shape), 32)
    small = {"decoder_depth": 1, "decoder_width": 32, "decoder_heads": 2}
    return Mage(MageParams.model_validate(small | params), backbone, Brightness()).eval()


def mage_plan(count: int, hidden: int = 48, kept: int = 32) -> MaskPlan:
    """`hidden` of 64 patches, of which the encoder is given some as mask codes."""
    keys = torch.arange(count)
    all_hidden = select(torch.zeros(count, 64), hidden, keys, (8, 8)).hidden[:, 0]
    # 32 of the hidden are dropped, the others stay as mask codes among the visible
    drop = select(all_hidden.float(), 64 - kept, keys, (8, 8))
    assert drop.kept_ids is not None
    replaced = all_hidden.unsqueeze(1).gather(2, drop.kept_ids)
    hidden_here = all_hidden.unsqueeze(1)
    return replace(
        drop, hidden=hidden_here, predicted=hidden_here, weight=hidden_here.float(),
        replaced=replaced,
    )  # fmt: skip


def test_it_is_registered() -> None:
    assert objectives["mage"].part is Mage and Mage.target_kinds == {"classes"}


@pytest.mark.parametrize("hidden", [32, 40, 60])
def test_the_encoder_sees_half_and_a_class_token(batch_of: Batches, hidden: int) -> None:
    objective, lengths = mage_of(), []
    objective.backbone.blocks[0].register_forward_hook(lambda _m, i, _o: lengths.append(i[0].shape))
    output = objective(batch_of(3), mage_plan(3, hidden), START)
    assert lengths == [(3, 33, 32)]
    assert output.loss_count == 3 * hidden


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_uniform_logits_cost_ln_classes(batch_of: Batches, smoothing: float) -> None:
    objective = mage_of(label_smoothing=smoothing)
    norm = objective.head[-1]
    assert isinstance(norm, torch.nn.LayerNorm)
    torch.nn.init.zeros_(norm.weight)
    output = objective(batch_of(2), mage_plan(2), START)
    torch.testing.assert_close(
        (output.loss_sum / output.loss_count).detach(), torch.tensor(math.log(CLASSES))
    )


def test_hidden_codes_are_never_seen(batch_of: Batches) -> None:
    """Dropped ones nor those that stay as mask codes."""
    objective, batch, plan = mage_of(), batch_of(3), mage_plan(3)
    pixels = plan.hidden[:, 0].unflatten(1, (8, 8)).repeat_interleave(4, 1).repeat_interleave(4, 2)
    noisy = Batch(batch.ids, torch.where(pixels[:, None], -batch.images, batch.images))
    codes = [objective.target.compute(b.images) for b in (batch, noisy)]
    assert not torch.equal(*codes)
    assert torch.equal(objective.reconstruct(noisy, plan), objective.reconstruct(batch, plan))


def test_hidden_places_begin_as_the_class_token(batch_of: Batches) -> None:
    objective, plan, seen = mage_of(), mage_plan(2), []
    objective.decoder.blocks[0].register_forward_hook(lambda _m, i, _o: seen.append(i[0]))
    objective(batch_of(2), plan, START)
    without_positions = seen[0] - objective.decoder.pos_embed
    class_token, tokens = without_positions[:, :1], without_positions[:, 1:]
    same = torch.isclose(tokens, class_token, atol=1e-6).all(-1)
    assert torch.equal(same, plan.hidden[:, 0])


def test_code_embeddings_learn_from_the_input_alone(batch_of: Batches) -> None:
    """Codes that the encoder is not given keep still, though logits are made with them."""
    objective, batch, plan = mage_of(), batch_of(2), mage_plan(2)
    objective(batch, plan, START).loss_sum.backward()
    codes = objective.target.compute(batch.images)
    visible = codes[~plan.hidden[:, 0]].unique().tolist()
    gradient = objective.embedding.weight.grad
    assert gradient is not None
    taught = (gradient.abs().sum(1) > 0).nonzero().flatten().tolist()
    assert taught == [*visible, CLASSES]


def test_the_projection_learns_apart(batch_of: Batches) -> None:
    """Its regression gives gradients to it alone, and no value to the loss."""
    objective, batch, plan = mage_of(), batch_of(2), mage_plan(2)
    output = objective(batch, plan, START)
    assert output.per_patch_loss is not None
    torch.testing.assert_close(output.loss_sum.detach(), output.per_patch_loss.sum())
    output.loss_sum.backward()
    for name, parameter in objective.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name
    before = {
        name: p.grad.clone() for name, p in objective.named_parameters() if p.grad is not None
    }
    objective.zero_grad()
    for parameter in objective.backbone.vit.patch_embed.parameters():
        parameter.data.add_(1.0)
    objective(batch, plan, START).loss_sum.backward()
    changed = {
        name
        for name, p in objective.named_parameters()
        if p.grad is not None and not torch.equal(p.grad, before[name])
    }
    assert changed == {f"backbone.vit.patch_embed.proj.{leaf}" for leaf in ("weight", "bias")}


def test_neither_pass_waits_for_the_device(batch_of: Batches) -> None:
    objective, batch = mage_of().to("meta"), batch_of(2)
    on_meta = Batch(batch.ids.to("meta"), batch.images.to("meta"))
    objective(on_meta, mage_plan(2).to(torch.device("meta")), START).loss_sum.backward()


def test_eight_images_can_be_learned_by_heart(batch_of: Batches) -> None:
    objective = mage_of(label_smoothing=0.0, dropout=0.0).train()
    batch, plan = batch_of(8, detail=2), mage_plan(8)
    optimizer = torch.optim.AdamW(objective.parameters(), betas=(0.9, 0.95))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=200, pct_start=0.1)
    losses, errors = [], []
    for _ in range(200):
        optimizer.zero_grad()
        output = objective(batch, plan, START)
        (output.loss_sum / output.loss_count).backward()
        optimizer.step()
        schedule.step()
        losses.append(float(output.loss_sum.detach()))
        errors.append(float(output.diagnostics["projection_error"]))
    assert losses[-1] < losses[0] / 10
    assert errors[-1] < errors[0]


def test_an_encoder_without_class_token_is_refused() -> None:
    with torch.device("meta"), pytest.raises(ParamsError, match="which this encoder does not have"):
        mage_of(name="vit_base_patch16_rpn_224")
