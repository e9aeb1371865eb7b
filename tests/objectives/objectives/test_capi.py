from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from mimlab_objectives.masking.plan import MaskPlan
from mimlab_objectives.objectives.base import Batch, Objective, Progress
from mimlab_objectives.objectives.capi import Capi, CapiParams, CosineHead
from mimlab_objectives.predictors.places import hidden_ids
from mimlab_objectives.teachers.sinkhorn import balanced_assignments

START = Progress(step=0, fraction=0.0)
PARAMS = {"predictor_depth": 1, "num_clusters": 16}
Tiny = Callable[..., Objective]
Batches = Callable[..., Batch]
Plans = Callable[..., MaskPlan]


def capi_of(tiny: Tiny, **params: object) -> Capi:
    objective = tiny("capi", {**PARAMS, **params})
    assert isinstance(objective, Capi)
    return objective


def test_equal_logits_cost_the_log_of_the_clusters(
    tiny: Tiny, batch_of: Batches, plan_of: Plans
) -> None:
    capi = capi_of(tiny)
    with torch.no_grad():
        capi.head.weight.zero_()
        capi.clusters.weight.zero_()
    output = capi(batch_of(4), plan_of(4, 48), START)
    assert float((output.loss_sum / output.loss_count).detach()) == pytest.approx(math.log(16))
    total, count = output.terms["clustering"]
    assert float(total / count) == pytest.approx(math.log(16)) and count == 4 * 64
    assert float(output.diagnostics["cluster_entropy"]) == pytest.approx(math.log(16), rel=1e-4)


def test_the_clusters_learn_from_their_own_loss_alone(
    tiny: Tiny, batch_of: Batches, plan_of: Plans
) -> None:
    """The gradient of loss_sum ÷ loss_count is that of the mean clustering loss."""
    capi, batch, plan = capi_of(tiny), batch_of(4), plan_of(4, 48)
    output = capi(batch, plan, START)
    (output.loss_sum / output.loss_count).backward()
    assert all(parameter.grad is None for parameter in capi.teacher.parameters())
    given, weight = capi.clusters.weight.grad, capi.clusters.weight
    logits = capi.clusters(capi.teach(batch.images))
    assigned = balanced_assignments(logits / 0.06, 3)
    clustering = -(assigned * (logits / 0.12).log_softmax(-1)).sum(-1).mean()
    (expected,) = torch.autograd.grad(clustering, weight)
    assert given is not None
    torch.testing.assert_close(given, expected, rtol=1e-4, atol=1e-6)


def test_a_plans_groups_are_what_is_asked_for(
    tiny: Tiny, batch_of: Batches, plan_of: Plans
) -> None:
    """Questions do not see each other: fewer of them change no answer."""
    capi, batch, plan = capi_of(tiny), batch_of(4), plan_of(4, 48)
    whole = capi(batch, plan, START)
    some = replace(plan, groups=hidden_ids(plan)[:, None, ::6])
    output = capi(batch, some, START)
    assert output.loss_count == 4 * 8 and output.per_patch_loss is not None
    asked = output.per_patch_loss > 0
    assert int(asked.sum()) == 4 * 8 and whole.per_patch_loss is not None
    torch.testing.assert_close(output.per_patch_loss[asked], whole.per_patch_loss[asked])


def test_a_head_gives_cosines() -> None:
    head = CosineHead(8, 5)
    cosines = head(torch.randn(2, 3, 8) * 100)
    assert cosines.abs().max() <= 1 + 1e-6
    torch.testing.assert_close(
        head(head.weight.detach()[None])[0].diagonal(), torch.ones(5), rtol=1e-5, atol=0
    )


@pytest.mark.parametrize(
    ("fraction", "momentum"), [(0.0, 1.0), (0.05, 0.9995), (0.1, 0.999), (0.55, 0.9995), (1.0, 1.0)]
)
def test_the_momentum_falls_and_rises(tiny: Tiny, fraction: float, momentum: float) -> None:
    assert capi_of(tiny).momentum(fraction) == pytest.approx(momentum, abs=1e-9)


def test_balance_at_each_position_is_not_balance_over_all(
    tiny: Tiny, batch_of: Batches, plan_of: Plans
) -> None:
    losses = [
        capi_of(tiny, positionwise=flag)(batch_of(4), plan_of(4, 48), START).loss_sum
        for flag in (True, False)
    ]
    assert not torch.allclose(*losses, rtol=1e-3)


def test_groups_of_parameters_have_the_papers_rates(tiny: Tiny) -> None:
    capi = capi_of(tiny)
    groups = {id(p): group for group in capi.param_groups() for p in group.params}
    trainable = [p for p in capi.parameters() if p.requires_grad]
    assert sorted(groups) == sorted(map(id, trainable))
    assert sum(len(group.params) for group in capi.param_groups()) == len(trainable)
    vit = capi.backbone.vit
    embed, clusters = groups[id(vit.patch_embed.proj.weight)], groups[id(capi.clusters.weight)]
    assert (embed.lr_scale, embed.decay, embed.decay_scale) == (0.2, True, 1.0)
    assert (clusters.lr_scale, clusters.decay) == (0.5, True)
    norm = groups[id(capi.predictor.norm.weight)]
    assert (norm.lr_scale, norm.decay, norm.decay_scale) == (1.0, True, 0.1)
    assert not groups[id(capi.clusters.bias)].decay
    assert not groups[id(capi.predictor.mask_token)].decay


def test_the_defaults_are_those_of_the_paper() -> None:
    params = CapiParams()
    assert (params.num_clusters, params.predictor_depth) == (16_384, 12)
    assert params.momentum == 0.999 and params.positionwise
