"""What every registered masking promises; a new one is found here by itself."""

import dataclasses
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from mimlab_objectives.keys import fold, key_of, sample_keys, uniform
from mimlab_objectives.masking.plan import (
    Grid,
    Masking,
    MaskPlan,
    MaskRequest,
    Signal,
    maskings,
)
from mimlab_objectives.registry import ParamsError, import_all

import_all("mimlab_objectives.masking")
NAMES = list(maskings)
WITHOUT_SIGNALS = [name for name in NAMES if not maskings[name].part.requires]
GRIDS = [(14, 14), (8, 8), (7, 7), (5, 9), (16, 6), (1, 12), (2, 2)]
KEYS = torch.from_numpy(sample_keys(key_of(0, "masks"), np.arange(1000), 0))


PATCH = 2  # pixels, of images that a masking asks for


def build(name: str, grid: Grid = (14, 14), **params: object) -> Masking:
    entry = maskings[name]
    return entry.part(entry.params(**params), grid)


def request_of(masking: Masking, keys: Tensor = KEYS, grid: Grid = (14, 14)) -> MaskRequest:
    """With what the masking requires: random numbers of the image's own key."""
    tokens, dim = grid[0] * grid[1], 4
    shapes: dict[Signal, tuple[int, ...]] = {
        "teacher_attention": (tokens,),
        "patch_loss": (tokens,),
        "prior_map": (tokens,),
        "features": (tokens, dim),
        "pixels": (3, grid[0] * PATCH, grid[1] * PATCH),
    }
    signals: dict[Signal, Tensor] = {
        name: uniform(fold(keys, stream), math.prod(shapes[name])).view(-1, *shapes[name])
        for stream, name in enumerate(sorted(masking.requires))
    }
    return MaskRequest(keys, signals=signals)


def plan_of(masking: Masking, keys: Tensor = KEYS, grid: Grid = (14, 14)) -> MaskPlan:
    return masking.plan(request_of(masking, keys, grid))


def has_ratio(name: str) -> bool:
    """Whether one number says how much a masking hides."""
    return "ratio" in maskings[name].params.model_fields


def uncoupled(name: str) -> Masking:
    masking = build(name)
    if masking.couples_batch:
        pytest.skip("declares that a mask depends on its batch")
    return masking


def coupled(name: str) -> Masking:
    masking = build(name)
    if not masking.couples_batch:
        pytest.skip("declares that no mask depends on its batch")
    return masking


def tensors(plan: MaskPlan) -> dict[str, Tensor]:
    values = {field.name: getattr(plan, field.name) for field in dataclasses.fields(plan)}
    own = {name: value for name, value in values.items() if isinstance(value, Tensor)}
    others = plan.corruption.tensors() if plan.corruption else []
    return own | {f"corruption {number}": value for number, value in enumerate(others)}


def same(first: MaskPlan, second: MaskPlan) -> bool:
    one, other = tensors(first), tensors(second)
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def check(masking: Masking, plan: MaskPlan, grid: Grid) -> None:
    """Shapes, types, counts and indices of a plan."""
    tokens = grid[0] * grid[1]
    batch, rounds, _ = shape = plan.hidden.shape
    assert plan.grid == grid
    assert shape[2] == tokens
    assert plan.hidden.dtype == plan.predicted.dtype == torch.bool
    assert plan.predicted.shape == plan.weight.shape == shape
    assert plan.weight.dtype == torch.float32
    assert torch.equal(plan.weight > 0, plan.predicted)
    assert plan.repaired.shape == (batch, rounds)
    assert plan.repaired.dtype == torch.int64
    assert torch.equal(plan.keys, plan.keys.long()) and plan.keys.shape == (batch,)
    assert rounds == masking.rounds
    counts = plan.hidden.sum(2)
    if masking.count == "per_image":
        assert plan.kept_ids is None
        assert plan.restore_ids is None
    else:
        check_indices(plan)
        assert (counts == counts[0, 0]).all()
    if masking.count == "exact":
        assert (counts == masking.num_hidden).all()
        assert (0 < masking.num_hidden < tokens) == (masking.application in ("hide", "pixels"))
    assert (plan.replaced is not None) == masking.replaces
    if plan.groups is not None:
        check_groups(plan)


def check_groups(plan: MaskPlan) -> None:
    """Ids ascend in each group, and together the groups are what is predicted."""
    assert plan.groups is not None
    assert plan.groups.dtype == torch.int64
    assert (plan.groups.diff(dim=2) > 0).all()
    union = torch.zeros_like(plan.predicted).scatter(2, plan.groups.flatten(1)[:, None], True)
    assert torch.equal(union, plan.predicted)


def check_indices(plan: MaskPlan) -> None:
    """Kept ids ascend, the others are hidden, and restore ids invert (kept, others)."""
    assert plan.kept_ids is not None
    assert plan.restore_ids is not None
    assert plan.kept_ids.dtype == plan.restore_ids.dtype == torch.int64
    batch, rounds, tokens = plan.hidden.shape
    num_kept = plan.kept_ids.shape[2]
    assert (plan.kept_ids.diff(dim=2) > 0).all()
    left_out = torch.ones_like(plan.hidden).scatter(2, plan.kept_ids, False)
    assert (plan.hidden | ~left_out).all()
    kept_hidden = plan.hidden.gather(2, plan.kept_ids)
    if plan.replaced is None:
        assert not kept_hidden.any()
    else:
        assert torch.equal(plan.replaced, kept_hidden)
        assert not plan.replaced.all(2).any() or plan.hidden.all()
    left_ids = left_out.nonzero()[:, 2].view(batch, rounds, tokens - num_kept)
    order = torch.cat([plan.kept_ids, left_ids], 2)
    assert torch.equal(order.gather(2, plan.restore_ids), torch.arange(tokens).expand_as(order))


def test_the_published_names_are_there() -> None:
    assert {"random", "coarse", "grid", "block", "block_unrepaired"} <= set(NAMES)
    assert {"uniform_cells", "visible_square", "colormae", "mage"} <= set(NAMES)
    assert {"ibot_block", "dinov2_block", "capi_block", "multi_block"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_every_masking_is_described(name: str) -> None:
    entry = maskings[name]
    assert entry.summary
    assert entry.paper
    assert all(field.description for field in entry.params.model_fields.values())


@pytest.mark.parametrize("name", NAMES)
def test_plan_over_many_draws(name: str) -> None:
    masking = build(name)
    plan = plan_of(masking)
    check(masking, plan, (14, 14))
    if masking.application != "hide":
        assert plan.corruption is not None
        return  # what is degraded need not be whole patches
    asked = masking.num_hidden / 196
    if masking.count == "exact":
        assert abs(plan.ratio_realised - asked) < 1e-6
    else:  # a batch may share a draw: the mean is over many steps, of other images each
        parts = [request_of(masking, KEYS[20 * n : 20 * n + 20]) for n in range(50)]
        steps = [replace(r, step_key=key_of(n), progress=n / 49) for n, r in enumerate(parts)]
        realised = sum(float(masking.plan(step).ratio_realised) for step in steps) / 50
        assert abs(realised - asked) < 0.02


SCHEDULES = [
    {"name": "linear", "start": 0.9, "end": 0.6},
    {"name": "step", "start": 0.9, "end": 0.6},
    {"name": "truncated_normal", "low": 0.6, "high": 0.9},
    {"name": "maskgit", "low": 0.6, "high": 0.9},
]


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda schedule: schedule["name"])
@pytest.mark.parametrize("name", NAMES)
def test_a_schedule_sets_the_count_of_a_whole_batch(name: str, schedule: dict[str, object]) -> None:
    params = maskings[name].params
    try:
        masking = maskings[name].part(params.model_validate({"ratio": schedule}), (14, 14))
    except ValidationError:
        pytest.skip("takes no schedule")
    assert masking.count in ("batch", "per_image")
    few = request_of(masking, KEYS[:20])
    requests = [replace(few, progress=i / 10, step_key=i) for i in range(11)]
    plans = [masking.plan(request) for request in requests]
    for plan in plans:
        check(masking, plan, (14, 14))
    means = [float(plan.hidden.sum(2).float().mean()) for plan in plans]
    assert len({round(mean) for mean in means}) > 1
    assert max(means) <= 180
    assert min(means) >= 117 or masking.count == "per_image"  # which may leave images whole


@pytest.mark.parametrize("grid", GRIDS, ids=str)
@pytest.mark.parametrize("visible", ["one", "half", "all but one"])
@pytest.mark.parametrize("name", NAMES)
def test_any_grid_and_ratio_holds_or_is_refused(name: str, visible: str, grid: Grid) -> None:
    tokens = grid[0] * grid[1]
    hidden = {"one": tokens - 1, "half": tokens // 2, "all but one": 1}[visible]
    params = {"ratio": (hidden - 0.5) / tokens} if has_ratio(name) else {}
    try:
        masking = build(name, grid, **params)
    except ParamsError as refusal:
        assert refusal.field in {"name", *maskings[name].params.model_fields}
        assert len(str(refusal)) > 20
    else:
        check(masking, plan_of(masking, KEYS[:50], grid), grid)


@pytest.mark.parametrize("name", NAMES)
def test_same_key_same_mask_and_other_keys_other_masks(name: str) -> None:
    masking = build(name)
    plan = plan_of(masking, KEYS[:64])
    assert same(plan, plan_of(build(name), KEYS[:64].clone()))
    assert not same(plan, plan_of(masking, KEYS[64:128]))
    if masking.application in ("hide", "pixels"):
        assert len(plan.hidden.unique(dim=0)) > 1


@pytest.mark.parametrize("name", NAMES)
def test_images_of_equal_keys_have_equal_masks(name: str) -> None:
    twins = plan_of(uncoupled(name), KEYS[:1].repeat(5))
    assert (twins.hidden == twins.hidden[:1]).all()


@pytest.mark.parametrize("name", NAMES)
def test_a_mask_depends_on_no_other_image(name: str) -> None:
    """Neither on the place in the batch nor on its company: the same on any number of workers.

    Parts begin at even places, since pairs of images may lend each other their pixels.
    """
    masking = uncoupled(name)
    whole = plan_of(masking, KEYS[:100])
    order = torch.randperm(100, generator=torch.Generator().manual_seed(0))
    assert torch.equal(plan_of(masking, KEYS[:100][order]).hidden, whole.hidden[order])
    assert same(plan_of(masking, KEYS[36:38]), whole.part(36, 38))
    assert same(plan_of(masking, KEYS[60:100]), whole.part(60, 100))


@pytest.mark.parametrize("name", NAMES)
def test_a_coupled_mask_depends_on_its_batch_but_on_no_place_in_it(name: str) -> None:
    masking = coupled(name)
    whole = plan_of(masking, KEYS[:100])
    order = torch.randperm(100, generator=torch.Generator().manual_seed(0))
    assert torch.equal(plan_of(masking, KEYS[:100][order]).hidden, whole.hidden[order])
    assert not torch.equal(plan_of(masking, KEYS[:5]).hidden, whole.hidden[:5])


@pytest.mark.parametrize("name", NAMES)
def test_a_part_of_a_plan_is_a_plan(name: str) -> None:
    masking = build(name)
    part = plan_of(masking).part(10, 30)
    assert len(part.hidden) == 20
    check(masking, part, (14, 14))


@pytest.mark.parametrize("name", NAMES)
def test_an_empty_batch_gives_an_empty_plan(name: str) -> None:
    masking = build(name)
    assert plan_of(masking, KEYS[:0]).hidden.shape == (0, masking.rounds, 196)


@pytest.mark.parametrize("name", NAMES)
def test_to_moves_every_tensor(name: str) -> None:
    plan = plan_of(build(name), KEYS[:4])
    moved = plan.to(torch.device("meta"))
    assert tensors(moved).keys() == tensors(plan).keys()
    assert {tensor.device.type for tensor in tensors(moved).values()} == {"meta"}
    assert same(plan.to(torch.device("cpu")), plan)
    assert moved.grid == plan.grid


@pytest.mark.parametrize("name", WITHOUT_SIGNALS)
def test_progress_and_step_change_nothing_where_no_schedule_is_set(name: str) -> None:
    masking = uncoupled(name)
    if masking.count == "batch":
        pytest.skip("is a schedule by default")
    request = MaskRequest(KEYS[:20])
    later = replace(request, progress=0.7, step_key=1234)
    assert same(masking.plan(request), masking.plan(later))


@pytest.mark.parametrize("ratio", [0.0, 1.0, -0.1, 1.5])
@pytest.mark.parametrize("name", NAMES)
def test_a_ratio_outside_0_and_1_is_refused(name: str, ratio: float) -> None:
    if not has_ratio(name):
        pytest.skip("has no ratio")
    with pytest.raises(ValidationError, match="ratio"):
        maskings[name].params.model_validate({"ratio": ratio})


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("name", NAMES)
def test_cpu_and_gpu_agree(name: str) -> None:
    masking = build(name)
    plan = plan_of(masking, KEYS.cuda())
    assert {tensor.device.type for tensor in tensors(plan).values()} == {"cuda"}
    here, there = tensors(plan.to(torch.device("cpu"))), tensors(plan_of(masking))
    assert here.keys() == there.keys()
    for key, value in here.items():  # exact, but for noise, whose logarithms are the device's
        torch.testing.assert_close(value, there[key], rtol=1e-5, atol=1e-5)
