"""A training step at ViT-S/16, 224 px: against the machine's own matrix rate, and against the
official formulation of MAE."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from jaxtyping import Float
from timm.layers.attention import Attention
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from benchmarks.measuring import Row, alternate, medians, ratio, seconds_of
from mimlab.spec.study import TrialSpec, trial_spec
from mimlab.train.build import build_masking, build_objective
from mimlab.train.clock import Clock
from mimlab.train.feed import Planner
from mimlab.train.flops import matrix_rate, step_flops
from mimlab.train.optimizer import build_optimizer
from mimlab.train.stepper import Stepper
from mimlab_objectives.masking.plan import MaskPlan
from mimlab_objectives.objectives.base import Batch, Objective, Progress
from mimlab_objectives.objectives.mae import Mae

SIZE, BATCH, ROUNDS = 224, 32, 5
NOW = Progress(0, 0.0)
SPEC = {
    "data": {"images": "/none", "image_size": SIZE},
    "backbone": {"name": "vit_small_patch16_224"},
    "target": {"name": "pixels"},
    "masking": {"name": "random", "ratio": 0.75},
    "seed": 0,
}


def run(folder: Path) -> list[Row]:
    del folder  # nothing is read
    pairs = [(name, precision) for name in ("mae", "simmim") for precision in ("fp32", "bf16")]
    return [*(_against_matrices(*pair) for pair in pairs), _against_official()]


def spec_of(name: str, precision: str = "fp32") -> TrialSpec:
    train = {"budget": {"steps": 1}, "batch_size": BATCH, "precision": precision}
    return trial_spec(SPEC | {"objective": {"name": name}, "train": train})


def plan_of(spec: TrialSpec, objective: Objective, batch_size: int = BATCH) -> MaskPlan:
    planner = Planner(build_masking(spec, objective.backbone.grid), 0)
    ids = torch.arange(batch_size)
    return planner.plan(planner.keys(ids, torch.zeros_like(ids)), NOW)


def batch_of() -> Batch:
    return Batch(torch.arange(BATCH), torch.randn(BATCH, 3, SIZE, SIZE))


def _against_matrices(name: str, precision: str) -> Row:
    spec = spec_of(name, precision)
    objective = build_objective(spec).train()
    optimizer = build_optimizer(objective, spec.train.optimizer)
    cpu = torch.device("cpu")
    stepper = Stepper(objective, optimizer, device=cpu, config=spec.train, seed=0, clock=Clock(cpu))
    work = batch_of(), plan_of(spec, objective)
    step = partial(stepper.step, *work, NOW)
    flops = step_flops(objective, *work)
    found = alternate(
        {"step": lambda: flops / seconds_of(step), "matrices": partial(matrix_rate, cpu)}, ROUNDS
    )
    return Row(
        f"step of {name}, {precision}, {flops / BATCH / 1e9:.1f} GFLOP an image",
        "fp32 matrix products",
        ratio(found, "step", "matrices"),
        "≥ 0.5" if precision == "fp32" else "",
        {key: value / 1e9 for key, value in medians(found, "GFLOP/s").items()},
    )


class OfficialMae(nn.Module):
    """The formulation of facebookresearch/mae, models_mae.py: explicit attention, all patches
    projected, then gathered; mask tokens appended and un-shuffled. It has the same weights."""

    def __init__(self, mae: Mae) -> None:
        super().__init__()
        self.mae = mae

    def forward(self, images: Float[Tensor, "batch 3 height width"], plan: MaskPlan) -> Tensor:
        vit, decoder = self.mae.backbone.vit, self.mae.decoder
        assert plan.kept_ids is not None and plan.restore_ids is not None
        assert vit.pos_embed is not None and vit.cls_token is not None
        kept, restore = plan.kept_ids[:, 0], plan.restore_ids[:, 0]
        tokens = vit.patch_embed(images) + vit.pos_embed[:, 1:]
        tokens = tokens.gather(1, kept[..., None].expand(-1, -1, tokens.shape[-1]))
        cls = (vit.cls_token + vit.pos_embed[:, :1]).expand(len(images), -1, -1)
        tokens = torch.cat([cls, tokens], dim=1)
        for block in vit.blocks:
            tokens = explicit_block(block, tokens)
        narrow = decoder.embed(vit.norm(tokens))
        missing = restore.shape[1] - kept.shape[1]
        shuffled = torch.cat(
            [narrow[:, 1:], decoder.mask_token.expand(len(images), missing, -1)], dim=1
        )
        full = shuffled.gather(1, restore[..., None].expand(-1, -1, shuffled.shape[-1]))
        full = torch.cat([narrow[:, :1], full + decoder.positions], dim=1)
        for block in decoder.blocks:
            full = explicit_block(block, full)
        predicted = decoder.head(decoder.norm(full))[:, 1:]
        target = self.mae.target.compute(images)
        error = (predicted - target).square().mean(-1)
        hidden = plan.hidden[:, 0].float()
        return (error * hidden).sum() / hidden.sum()


def explicit_block(block: nn.Module, tokens: Tensor) -> Tensor:
    """A timm block whose attention matrix is written out, as timm 0.3 did."""
    assert isinstance(block, Block)
    attention = block.attn
    assert isinstance(attention, Attention)
    count, length, dim = tokens.shape
    qkv = attention.qkv(block.norm1(tokens)).reshape(count, length, 3, attention.num_heads, -1)
    q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
    weights = (q @ k.transpose(-2, -1) * attention.scale).softmax(dim=-1)
    mixed = (weights @ v).transpose(1, 2).reshape(count, length, dim)
    tokens = tokens + attention.proj(mixed)
    return tokens + block.mlp(block.norm2(tokens))


def _against_official() -> Row:
    spec = spec_of("mae")
    mae = build_objective(spec).train()
    assert isinstance(mae, Mae)
    official = OfficialMae(mae)
    batch, plan = batch_of(), plan_of(spec, mae)

    def ours() -> Tensor:
        output = mae(batch, plan, NOW)
        return output.loss_sum / output.loss_count

    def theirs() -> Tensor:
        return official(batch.images, plan)

    torch.testing.assert_close(ours(), theirs(), rtol=1e-4, atol=1e-5)

    def images_per_s(loss: Callable[[], Tensor]) -> float:
        mae.zero_grad(set_to_none=True)
        return BATCH / seconds_of(lambda: loss().backward())

    contestants = {"mimlab": partial(images_per_s, ours), "official": partial(images_per_s, theirs)}
    found = alternate(contestants, ROUNDS)
    times = ratio(found, "mimlab", "official")
    what, peer = "forward and backward of mae, fp32", "official formulation, same loss"
    return Row(what, peer, times, "≥ 1", medians(found, "images/s"))
