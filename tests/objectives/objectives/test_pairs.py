"""What every objective promises under every kind of masking that it takes.

Pairs are those that the parts declare legal: random and block masks, blocks whose counts differ by
image, and what degrades the input instead of hiding patches, each at three strengths.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor

from mimlab_objectives.keys import sample_keys
from mimlab_objectives.masking.plan import Masking, MaskPlan, MaskRequest, maskings
from mimlab_objectives.objectives.base import (
    Batch,
    Objective,
    ObjectiveOutput,
    Progress,
    objectives,
)
from mimlab_objectives.registry import import_all

import_all("mimlab_objectives.masking")
import_all("mimlab_objectives.objectives")
START = Progress(step=0, fraction=0.0)
IMAGES = 4
GRID = (8, 8)
RATIOS = (0.3, 0.5, 0.75)
STRENGTHS: dict[str, list[dict[str, object]]] = {
    "random": [{"ratio": ratio} for ratio in RATIOS],
    "block": [{"ratio": ratio, "min_area": 4} for ratio in RATIOS],
    "block_unrepaired": [{"ratio": ratio, "min_area": 4} for ratio in RATIOS],
    # replaced images take from their neighbour in the batch, whatever their keys are
    "groups": [
        {"ratio": ratio, "align": 4, "max_side": 0.5, "replace_probability": 0.0}
        for ratio in RATIOS
    ],
    "mean_fill": [{"ratio": ratio, "cell": 1} for ratio in RATIOS],
    "frequency": [{"radius": radius} for radius in (2.0, 4.0, 8.0)],
    "projection": [{"bucket": bucket} for bucket in (2, 4, 8)],
}
"""Masking → parameters."""
Built = Callable[[str], Objective]
Batches = Callable[..., Batch]


@dataclass(frozen=True)
class Pair:
    """An objective and a masking of some strength."""

    objective: str
    masking: str
    strength: int

    @property
    def id(self) -> str:
        value = next(iter(STRENGTHS[self.masking][self.strength].values()))
        return f"{self.objective}-{self.masking}-{value}"


@cache
def masking_of(name: str, strength: int) -> Masking:
    entry = maskings[name]
    return entry.part(entry.params.model_validate(STRENGTHS[name][strength]), GRID)


def legal(objective: type[Objective], masking: Masking) -> bool:
    """By what both declare; the loop supplies pixels."""
    supplied = objective.supplies | {"pixels"}
    equal = masking.count != "per_image" or not objective.needs_equal_counts()
    applies = masking.application in objective.applications
    return applies and equal and masking.requires <= supplied


OWN = [e for e in objectives.entries() if e.part.__module__.startswith("mimlab_objectives.")]
PAIRS = [
    Pair(entry.name, name, strength)
    for entry in OWN
    for name, strengths in STRENGTHS.items()
    for strength in range(len(strengths))
    if legal(entry.part, masking_of(name, strength))
]


def params_of(pairs: list[Pair]) -> list[Any]:
    """The middle strength every time, the two others among slow tests."""
    others = pytest.mark.slow
    return [
        pytest.param(pair, id=pair.id, marks=[] if pair.strength == 1 else others) for pair in pairs
    ]


every_pair = pytest.mark.parametrize("pair", params_of(PAIRS))
every_objective = pytest.mark.parametrize("name", [entry.name for entry in OWN])


def test_every_objective_is_in_pairs_and_every_masking_too() -> None:
    counts = Counter(pair.objective for pair in PAIRS)
    assert set(counts) == {entry.name for entry in OWN}
    for entry in OWN:
        hides = "hide" in entry.part.applications
        inexact = hides and not entry.part.needs_equal_counts()
        assert counts[entry.name] >= 3 * (1 + hides + inexact), entry.name
    assert {pair.masking for pair in PAIRS} == set(STRENGTHS)
    assert {m.application for m in (masking_of(name, 0) for name in STRENGTHS)} == {
        entry.part.application for entry in maskings.entries()
    }


@pytest.fixture(scope="module")
def built(build_named: Callable[..., Objective]) -> Built:
    """An objective, built once; its gradients are those of whoever asks."""
    made: dict[str, Objective] = {}

    def get(name: str) -> Objective:
        objective = made.setdefault(name, build_named(name, "none"))
        objective.zero_grad(set_to_none=True)
        return objective

    return get


def keys_of(batch: Batch) -> Tensor:
    """As the training loop makes them: by the seed, the epoch and the sample."""
    ids = batch.ids.numpy()
    return torch.from_numpy(sample_keys(1, ids, 0 * ids))


def plan_of(pair: Pair, batch: Batch) -> MaskPlan:
    masking = masking_of(pair.masking, pair.strength)
    return masking.plan(MaskRequest(keys_of(batch), signals={"pixels": batch.images}))


def picked(batch: Batch, rows: list[int]) -> Batch:
    assert batch.labels is not None
    return Batch(batch.ids[rows], batch.images[rows], batch.labels[rows])


def patch_loss_of(objective: Objective, output: ObjectiveOutput) -> tuple[Tensor, Tensor]:
    """(sum, count) of the part of the loss that is of patches."""
    if objective.patch_term is None:
        return output.loss_sum.detach(), output.loss_count
    return output.terms[objective.patch_term]


@every_pair
def test_the_loss_is_finite_and_its_patches_average_to_it(
    pair: Pair, built: Built, batch_of: Batches
) -> None:
    objective, batch = built(pair.objective), batch_of(IMAGES)
    plan = plan_of(pair, batch)
    output = objective(batch, plan, START)
    assert torch.isfinite(output.loss_sum) and output.loss_sum > 0 and output.loss_count > 0
    assert output.loss_sum.dtype == output.loss_count.dtype == torch.float32
    assert tuple(output.terms) == objective.terms
    assert set(output.diagnostics) == set(objective.diagnostics)
    assert all(torch.isfinite(value) for value in output.diagnostics.values())
    patches = output.per_patch_loss
    if patches is None:
        assert objective.patch_term is None
        return
    assert patches.shape == plan.hidden.shape and not patches.requires_grad
    total, count = patch_loss_of(objective, output)
    # where a masking hides parts of patches, they count as much; patches that are kept count once
    weight = torch.where(plan.predicted, plan.weight, 1.0)
    torch.testing.assert_close((weight * patches).sum(), total, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(weight[patches != 0].sum(), count)


@every_pair
def test_counts_are_what_the_masking_declares(pair: Pair, batch_of: Batches) -> None:
    masking, batch = masking_of(pair.masking, pair.strength), batch_of(IMAGES)
    plan = plan_of(pair, batch)
    counts = plan.hidden.sum(-1)
    assert plan.hidden.shape == (IMAGES, masking.rounds, GRID[0] * GRID[1])
    assert (plan.kept_ids is None) == (masking.count == "per_image")
    if masking.count == "exact":
        assert (counts == masking.num_hidden).all()
    if plan.kept_ids is not None:
        assert not plan.hidden.gather(2, plan.kept_ids).any()
        assert plan.kept_ids.shape[2] == 64 - masking.num_hidden


@every_pair
def test_keys_decide_wherever_an_image_stands_and_whoever_reads_it(
    pair: Pair, built: Built, batch_of: Batches
) -> None:
    objective, batch = built(pair.objective), batch_of(IMAGES)
    with torch.no_grad():
        once, again = (objective(batch, plan_of(pair, batch), START) for _ in range(2))
        order = [2, 0, 3, 1]
        moved = picked(batch, order)
        turned = objective(moved, plan_of(pair, moved), START)
        halves = [picked(batch, rows) for rows in ([0, 1], [2, 3])]
        workers = [objective(half, plan_of(pair, half), START) for half in halves]
    assert torch.equal(once.loss_sum, again.loss_sum)
    assert_close(turned.loss_sum, once.loss_sum)
    if once.per_patch_loss is not None:
        assert turned.per_patch_loss is not None
        assert_close(turned.per_patch_loss, once.per_patch_loss[order])
    assert sum(float(part.loss_count) for part in workers) == float(once.loss_count)
    if objective.loss_scope != "batch":
        total = torch.stack([part.loss_sum for part in workers]).sum()
        assert_close(total, once.loss_sum)


def assert_close(found: Tensor, expected: Tensor) -> None:
    """Matrix products of other sizes sum in another order."""
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@every_pair
def test_what_trains_learns_and_nothing_else(pair: Pair, built: Built, batch_of: Batches) -> None:
    objective, batch = built(pair.objective), batch_of(IMAGES)
    objective(batch, plan_of(pair, batch), START).loss_sum.backward()
    for name, parameter in objective.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), name
            assert parameter.grad.any(), name
        else:
            assert parameter.grad is None, name


@pytest.mark.parametrize(
    "pair",
    params_of([p for p in PAIRS if masking_of(p.masking, p.strength).application == "hide"]),
)
def test_hidden_pixels_change_no_bit_of_the_prediction(
    pair: Pair, built: Built, batch_of: Batches
) -> None:
    objective, batch = built(pair.objective), batch_of(IMAGES)
    plan = plan_of(pair, batch)
    pixels = plan.hidden[:, 0].unflatten(1, GRID).repeat_interleave(4, 1).repeat_interleave(4, 2)
    noise = torch.where(pixels[:, None], 2.0, batch.images)
    noisy = Batch(batch.ids, noise, batch.labels)
    assert torch.equal(objective.reconstruct(noisy, plan), objective.reconstruct(batch, plan))


@every_pair
def test_bfloat16_keeps_the_loss_in_float32(pair: Pair, built: Built, batch_of: Batches) -> None:
    objective, batch = built(pair.objective), batch_of(IMAGES)
    plan = plan_of(pair, batch)
    with torch.no_grad():
        exact = objective(batch, plan, START)
    with torch.autocast("cpu", torch.bfloat16):
        rough = objective(batch, plan, START)
    rough.loss_sum.backward()
    assert rough.loss_sum.dtype == torch.float32
    assert rough.per_patch_loss is None or rough.per_patch_loss.dtype == torch.float32
    assert rough.loss_count == exact.loss_count
    # 8 bits of mantissa: some 0.4 % a value, more where a loss is a small difference
    torch.testing.assert_close(rough.loss_sum, exact.loss_sum, rtol=0.03, atol=0)
    assert all(torch.isfinite(p.grad).all() for p in objective.parameters() if p.grad is not None)


@every_objective
def test_the_state_dict_is_the_whole_state(
    name: str, build_named: Callable[..., Objective], batch_of: Batches
) -> None:
    first, second, batch = build_named(name, seed=1), build_named(name, seed=2), batch_of(IMAGES)
    pairs = [pair for pair in PAIRS if pair.objective == name]
    assert pairs
    second.load_state_dict(first.state_dict())
    with torch.no_grad():
        for pair in pairs:
            plan = plan_of(pair, batch)
            one, other = (part(batch, plan, START).loss_sum for part in (first, second))
            assert torch.equal(one, other), pair.id
