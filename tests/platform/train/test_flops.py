"""Arithmetic is counted as one would on paper."""

from __future__ import annotations

import pytest
import torch

from mimlab.spec.study import trial_spec
from mimlab.train.build import build_masking, build_objective
from mimlab.train.feed import Planner
from mimlab.train.flops import matrix_rate, step_flops
from mimlab_objectives.objectives.base import Batch, Progress

SPEC = {
    "data": {"images": "/none", "image_size": 16},
    "backbone": {
        "name": "vit_tiny_patch16_224",
        "patch_size": 4,
        "embed_dim": 32,
        "depth": 2,
        "num_heads": 2,
    },
    "objective": {"name": "simmim"},
    "target": {"name": "pixels"},
    "masking": {"name": "random", "ratio": 0.5},
    "train": {"budget": {"steps": 1}, "batch_size": 6},
    "seed": 0,
}


def counted(batch_size: int) -> int:
    spec = trial_spec(SPEC)
    objective = build_objective(spec)
    planner = Planner(build_masking(spec, objective.backbone.grid), 0)
    ids = torch.arange(batch_size)
    plan = planner.plan(planner.keys(ids, ids * 0), Progress(0, 0.0))
    flops = step_flops(objective, Batch(ids, torch.randn(batch_size, 3, 16, 16)), plan)
    assert all(parameter.grad is None for parameter in objective.parameters())
    return flops


def on_paper(batch_size: int) -> int:
    """SimMIM on 16 patches and a class token: products of tokens with weights, and attention."""
    patches, tokens, dim, patch_dim = 16, 17, 32, 48
    block = tokens * dim * (3 * dim + dim + 2 * 4 * dim)
    attention = 2 * tokens * tokens * dim
    head = patches * dim * patch_dim
    embed = patches * patch_dim * dim
    # Backward twice the forward pass, but pixels need no gradient. Flash attention multiplies
    # queries and keys once more in its backward pass: 5 products for 2.
    products = 3 * (2 * block + head) + 2 * embed
    return 2 * batch_size * (products + 2 * int(attention * 3.5))


@pytest.mark.parametrize("batch_size", [2, 6])
def test_a_step_counts_what_its_products_do(batch_size: int) -> None:
    assert counted(batch_size) == pytest.approx(on_paper(batch_size), rel=0.01)


def test_a_machine_does_more_than_a_megaflop_a_second() -> None:
    assert matrix_rate(torch.device("cpu"), size=256, repeats=2) > 1e6
