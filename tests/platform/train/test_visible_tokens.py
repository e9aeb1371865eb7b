"""What a step is said to spend before it runs is what it has spent afterwards."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from mimlab.spec.study import TrialSpec, trial_spec
from mimlab.train.build import build_masking, build_objective
from mimlab.train.clock import Clock
from mimlab.train.feed import Planner
from mimlab.train.optimizer import build_optimizer
from mimlab.train.stepper import FIGURES, Stepper
from mimlab.train.visible_tokens import visible_tokens_per_image
from mimlab_objectives.masking.plan import MaskPlan, MaskRequest, maskings
from mimlab_objectives.masking.uniform import Random
from mimlab_objectives.objectives.base import Batch, Progress

IMAGES = 100


SpecOf = Callable[..., TrialSpec]


@pytest.fixture
def spec_of(create_tiny, tmp_path: Path) -> SpecOf:
    """The tiny study's trial, with `--set` style changes."""
    return lambda *changes: trial_spec(create_tiny(tmp_path, *changes).spec)


def spent(spec: TrialSpec, step: int = 0) -> float:
    """Visible tokens of a real step, as the meter adds them up."""
    objective = build_objective(spec)
    stepper = Stepper(
        objective,
        build_optimizer(objective, spec.train.optimizer),
        device=torch.device("cpu"),
        config=spec.train,
        seed=spec.seed,
        clock=Clock(torch.device("cpu")),
    )
    ids = torch.arange(IMAGES)
    planner = Planner(build_masking(spec, objective.backbone.grid), spec.seed)
    progress = Progress(step, 0.0)
    plan = planner.plan(planner.keys(ids, torch.full_like(ids, step)), progress)
    batch = Batch(ids, torch.rand(IMAGES, 3, 16, 16))
    return float(stepper.step(batch, plan, progress).figures[FIGURES.index("visible_tokens")])


@pytest.mark.parametrize("objective", ["mae", "simmim"])
@pytest.mark.parametrize(
    ("masking", "ratio"),
    [("random", 0.3), ("random", 0.75), ("block", 0.3), ("coarse", 0.3), ("grid", 0.75)],
)
def test_a_step_spends_exactly_what_is_said(
    objective: str, masking: str, ratio: float, spec_of: SpecOf
) -> None:
    area = ", min_area: 2" if masking == "block" else ""
    masked = f"masking={{name: {masking}, ratio: {ratio}{area}}}"
    spec = spec_of(f"objective.name={objective}", masked)
    assert visible_tokens_per_image(spec) * IMAGES == spent(spec)


def test_a_count_that_varies_is_met_on_average_by_every_seed(spec_of: SpecOf) -> None:
    changes = ("objective={name: simmim}", "masking={name: block_unrepaired, min_area: 3}")
    specs = [spec_of(*changes, f"sweep.seeds=[{seed}]") for seed in (0, 1)]
    first, second = (visible_tokens_per_image(spec) for spec in specs)
    assert first == second
    assert first > build_masking(specs[0], (4, 4)).num_hidden
    mean = sum(spent(specs[1], step) for step in range(10)) / (10 * IMAGES)
    assert mean == pytest.approx(first, rel=0.02)


def test_a_coupled_batch_is_counted_at_its_own_size(spec_of: SpecOf) -> None:
    """I-JEPA's contexts are cut to the smallest of a batch, so that larger ones see less."""
    blocks = "masking={name: multi_block, least_kept: 1}"
    small, large = (
        visible_tokens_per_image(spec_of(blocks, f"train.batch_size={size}")) for size in (2, 128)
    )
    assert 1 < large < small - 0.5


class Twice(Random):
    """Two masks of each view."""

    def plan(self, request: MaskRequest) -> MaskPlan:
        plan = super().plan(request)
        both = plan._each(lambda t: torch.cat([t, t], dim=1) if t.ndim > 1 else t)
        assert both.keys is plan.keys
        return both


def test_every_mask_of_a_view_counts(spec_of: SpecOf, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = spec_of()
    once = visible_tokens_per_image(spec)
    twice = dataclasses.replace(maskings["random"], part=Twice)
    monkeypatch.setitem(maskings._entries, "random", twice)
    assert visible_tokens_per_image(spec) == 2 * once
    assert spent(spec) == 2 * once * IMAGES
