"""Steps and learning rates by closed forms."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mimlab.train.config import Budget, OptimizerConfig, TrainConfig
from mimlab.train.schedule import (
    CosineSchedule,
    decay_of,
    schedule_of,
    steps_every,
    steps_of_epochs,
    total_steps,
)


def test_the_learning_rate_follows_the_linear_scaling_rule() -> None:
    config = TrainConfig(
        budget=Budget(epochs=10), batch_size=1024, optimizer=OptimizerConfig(base_lr=1.5e-4)
    )
    assert schedule_of(config, 10_240).peak_lr == pytest.approx(6e-4)


def test_warm_up_is_linear_from_zero_and_the_cosine_ends_at_the_minimum() -> None:
    schedule = CosineSchedule(peak_lr=1.0, min_lr=0.1, warmup_steps=10, total_steps=110)
    assert schedule.lr(0) == 0.0
    assert schedule.lr(5) == pytest.approx(0.5)
    assert schedule.lr(10) == pytest.approx(1.0)
    assert schedule.lr(60) == pytest.approx(0.55)
    assert schedule.lr(110) == pytest.approx(0.1)


def test_each_stage_begins_anew() -> None:
    twice = CosineSchedule(peak_lr=1.0, min_lr=0.1, warmup_steps=10, total_steps=220, stages=2)
    once = CosineSchedule(peak_lr=1.0, min_lr=0.1, warmup_steps=10, total_steps=110)
    assert [twice.lr(step) for step in range(220)] == [once.lr(s % 110) for s in range(220)]
    assert twice.lr(220) == pytest.approx(0.1)


def test_decay_moves_from_its_start_to_its_end_or_stays() -> None:
    moving = decay_of(OptimizerConfig(weight_decay=0.04, weight_decay_end=0.4), 100)
    assert [moving.decay(step) for step in (0, 50, 100)] == pytest.approx([0.04, 0.22, 0.4])
    fixed = decay_of(OptimizerConfig(weight_decay=0.05), 100)
    assert {fixed.decay(step) for step in range(101)} == {0.05}


def test_budgets_in_epochs_images_and_steps_agree() -> None:
    assert total_steps(Budget(epochs=2), 1000, 100) == 20
    assert total_steps(Budget(images=2000), 1000, 100) == 20
    assert total_steps(Budget(steps=20), 1000, 100) == 20


@given(
    epochs=st.floats(0.01, 50),
    num_images=st.integers(1, 5000),
    batch_size=st.integers(1, 600),
)
def test_an_epoch_s_steps_read_each_image_at_least_once(epochs, num_images, batch_size) -> None:
    steps = steps_of_epochs(epochs, num_images, batch_size)
    assert steps * batch_size >= epochs * num_images - 1e-3
    assert steps == 1 or (steps - 1) * batch_size < epochs * num_images


@given(every=st.floats(0.1, 9), total=st.integers(1, 400))
def test_what_is_due_every_so_often_is_never_due_at_the_last_step(every, total) -> None:
    due = steps_every(every, num_images=100, batch_size=10, last=total)
    assert all(0 < step < total for step in due)
    expected = {math.ceil(k * every * 10 - 1e-9) for k in range(1, 5000)}
    assert due == {max(1, step) for step in expected if max(1, step) < total}
