"""One optimizer step is one global batch, however it is cut."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from mimlab.train.build import build_masking, build_objective
from mimlab.train.feed import Planner
from mimlab.train.optimizer import build_optimizer, set_lr
from mimlab.train.session import Session
from mimlab.train.stepper import FIGURES, Stepper
from mimlab_objectives.objectives.base import Batch, Progress

Build = Callable[..., Session]


def stepped(session: Session):
    """The weights after three steps on fixed images, and the figures of the last one."""
    spec = session.spec
    objective = build_objective(spec)
    optimizer = build_optimizer(objective, spec.train.optimizer)
    stepper = Stepper(
        objective,
        optimizer,
        device=session.device,
        config=spec.train,
        seed=spec.seed,
        clock=session.clock,
    )
    planner = Planner(build_masking(spec, objective.backbone.grid), spec.seed)
    ids = torch.arange(100)
    images = torch.randn(100, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    figures: list[float] = []
    for step in range(3):
        plan = planner.plan(planner.keys(ids, torch.full_like(ids, step)), Progress(step, 0.0))
        set_lr(optimizer, 1e-3)
        figures = stepper.step(Batch(ids, images), plan, Progress(step, 0.0)).figures.tolist()
    weights = {name: tensor.clone() for name, tensor in objective.state_dict().items()}
    return weights, dict(zip(FIGURES, figures, strict=True))


NO_DROP = "backbone.drop_path=0.0"


def same_weights(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    """Equal up to rounding. Biases of keys have no gradient but rounding, which Adam enlarges."""
    names = [name for name in one if not name.endswith("qkv.bias")]
    return all(torch.allclose(one[name], other[name], atol=2e-5) for name in names)


@pytest.mark.parametrize("parts", [2, 4, 5])
def test_micro_batches_add_up_to_the_whole_batch(parts: int, session_of: Build) -> None:
    whole, figures = stepped(session_of(NO_DROP))
    cut, cut_figures = stepped(session_of(NO_DROP, f"train.accumulate={parts}"))
    assert cut_figures["loss"] == pytest.approx(figures["loss"], rel=1e-5)
    assert cut_figures["grad_norm"] == pytest.approx(figures["grad_norm"], rel=1e-4)
    assert same_weights(whole, cut)


def test_micro_batches_of_unequal_counts_add_up_too(session_of: Build) -> None:
    unequal = [
        "objective={name: simmim}",
        "masking={name: block_unrepaired, ratio: 0.75, min_area: 4}",
        NO_DROP,
    ]
    whole, figures = stepped(session_of(*unequal))
    cut, cut_figures = stepped(session_of(*unequal, "train.accumulate=4"))
    assert 0 < figures["hidden"] < 0.75
    assert cut_figures["loss"] == pytest.approx(figures["loss"], rel=1e-5)
    assert same_weights(whole, cut)


def test_figures_count_what_was_hidden_and_seen(session_of: Build) -> None:
    _, figures = stepped(session_of())
    assert figures["hidden"] == 0.75
    assert figures["visible_tokens"] == 100 * 4
    assert figures["repaired"] == 0
    assert figures["skipped"] == figures["stop"] == 0


def test_clipping_bounds_the_update_and_reports_the_norm_before_it(session_of: Build) -> None:
    _, free = stepped(session_of(NO_DROP))
    _, clipped = stepped(session_of(NO_DROP, "train.clip_norm=1.0e-3"))
    assert clipped["grad_norm"] > 1e-3
    assert free["grad_norm"] > 1e-3


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_lower_precisions_train_towards_the_same_loss(precision: str, session_of: Build) -> None:
    _, full = stepped(session_of(NO_DROP))
    _, low = stepped(session_of(NO_DROP, f"train.precision={precision}"))
    assert low["loss"] == pytest.approx(full["loss"], rel=0.02)


def test_samples_whose_loss_is_not_finite_are_told_whatever_the_micro_batches(
    session_of: Build,
) -> None:
    for accumulate in (1, 4):
        session = session_of(NO_DROP, f"train.accumulate={accumulate}", "target.norm=none")
        run, _ = session.prepared(None)
        images = torch.randn(100, 3, 16, 16, generator=torch.Generator().manual_seed(0))
        images[[17, 60]] = float("nan")
        ids = torch.arange(100)
        plan = run.planner.plan(run.planner.keys(ids, torch.zeros_like(ids)), Progress(0, 0.0))
        unsound = run.stepper.step(Batch(ids, images), plan, Progress(0, 0.0)).unsound
        assert unsound.nonzero()[:, 0].tolist() == [17, 60]


def test_drop_path_depends_on_the_step_only(session_of: Build) -> None:
    torch.manual_seed(1)
    first, _ = stepped(session_of())
    torch.manual_seed(2)
    second, _ = stepped(session_of())
    assert all(torch.equal(first[name], second[name]) for name in first)
