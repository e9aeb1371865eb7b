"""Images, tokens and time of a trial; what is paused is not training."""

from __future__ import annotations

import pytest

from mimlab.compare.budgets import budget_words, compared_at, time_unit
from mimlab.compare.progress import mean_workers
from mimlab.compare.trials import read_trials
from mimlab.storage.records import JournalPoint

HOUR_MS = 3_600_000


def test_time_is_images_over_rate_and_a_pause_does_not_count(study) -> None:
    # 10 steps of 64 images at 640 images/s: a second for each point.
    trial = study.trial()
    study.journal(trial, [1.0] * 5, pause_ms=HOUR_MS, wait_share=0.25)
    (found,) = read_trials(study.submission())
    progress = found.progress
    assert progress.seconds == pytest.approx([0, 1, 2, 3, 4, 5])
    assert progress.images == pytest.approx([0, 640, 1280, 1920, 2560, 3200])
    assert progress.tokens[-1] == 3200 * 16 * 0.5
    assert progress.wait_share == pytest.approx(0.25)


def test_workers_that_come_and_go_count_by_their_time() -> None:
    def point(seq: int, images: float, images_per_s: float, workers: float | None) -> JournalPoint:
        metrics = {"train/images": images, "train/images_per_s": images_per_s}
        metrics |= {} if workers is None else {"train/workers": workers}
        return JournalPoint(seq=seq, time_ms=seq, step=seq, metrics=metrics)

    # 10 s with two of them, then 5 s with four.
    points = [point(1, 100.0, 10.0, 2.0), point(2, 200.0, 20.0, 4.0)]
    assert mean_workers(points, 1.0) == pytest.approx((10 * 2 + 5 * 4) / 15)
    assert mean_workers([point(1, 100.0, 10.0, None)], 3.0) == 3.0
    assert mean_workers([], 3.0) == 3.0


def test_between_logged_steps_it_is_linear_and_beyond_them_unknown(study) -> None:
    study.journal(study.trial(), [1.0, 1.0])
    (found,) = read_trials(study.submission())
    progress = found.progress
    assert progress.at(15, progress.images) == 15 * 64
    assert progress.at(20, progress.seconds) == pytest.approx(2.0)
    assert progress.at(21, progress.images) is None


def test_a_trial_that_has_not_begun_has_spent_nothing(study) -> None:
    study.trial(state="pending")
    (found,) = read_trials(study.submission())
    assert not found.progress.started and found.progress.wait_share is None


def test_device_time_is_that_of_all_workers(study) -> None:
    study.journal(study.trial(), [1.0] * 60)
    trials = read_trials(study.submission())
    unit = time_unit(trials)
    # Two workers with three cores each; a minute.
    assert (unit.name, unit.of(trials[0], 60.0)) == ("CPU minutes", 6.0)


def test_without_the_resources_time_is_wall_clock(study) -> None:
    trial = study.trial()
    study.journal(trial, [1.0] * 60)
    submission = study.submission()
    study.store.remove(submission.file("resolved.json"))
    trials = read_trials(submission)
    unit = time_unit(trials)
    assert (unit.name, unit.of(trials[0], 60.0)) == ("training minutes", 1.0)


def test_equal_images_are_said_and_what_differs_too(study) -> None:
    for ratio, rate in ((0.5, 640.0), (0.75, 1280.0)):
        study.journal(study.trial(ratio=ratio), [1.0] * 10, images_per_s=rate)
    words = budget_words(read_trials(study.submission()))
    assert words.startswith("Finished trials are compared at equal images (6,400 each).")
    assert "What differs: visible tokens (25,600 to 51,200), CPU minutes (0.5 to 1)." in words


def test_equal_tokens_are_said_where_images_differ(study) -> None:
    study.journal(study.trial(ratio=0.5), [1.0] * 5)
    study.journal(study.trial(ratio=0.75), [1.0] * 10, images_per_s=1280.0)
    words = budget_words(read_trials(study.submission()))
    assert "equal visible tokens (25,600 each) and CPU minutes" in words
    assert "What differs: images (3,200 to 6,400)." in words


def test_equal_hours_are_those_that_were_frozen_and_what_was_spent_is_said(study) -> None:
    for ratio, points, rate in ((0.5, 9, 640.0), (0.75, 10, 600.0)):
        trial = study.trial(ratio=ratio, budget_asked={"cpu_hours": 0.015})
        study.journal(trial, [1.0] * points, images_per_s=rate)
    trials = read_trials(study.submission())
    words = budget_words(trials)
    assert words.startswith(
        "Finished trials are compared at equal CPU-hours (0.015 asked of each, frozen to steps). "
    )
    assert "What differs: images (5,760 to 6,400)" in words and "CPU minutes (0.9 to 1.07)" in words
    assert compared_at(trials) == "equal CPU-hours"


def test_other_hours_are_not_equal(study) -> None:
    for ratio, points, hours in ((0.5, 5, 0.01), (0.75, 10, 0.02)):
        trial = study.trial(ratio=ratio, budget_asked={"gpu_hours": hours})
        study.journal(trial, [1.0] * (points + 1))
    trials = read_trials(study.submission())
    assert "compared at no equal budget. What differs: images" in budget_words(trials)
    assert compared_at(trials) == "no equal budget"


def test_tokens_that_were_asked_are_equal_to_the_step(study) -> None:
    for ratio, points in ((0.5, 5), (0.75, 11)):
        trial = study.trial(ratio=ratio, budget_asked={"visible_tokens": 25_000.0})
        study.journal(trial, [1.0] * points)
    trials = read_trials(study.submission())
    words = budget_words(trials)
    assert "equal visible tokens (25,600 to 28,160: the same but for whole steps)." in words
    assert compared_at(trials) == "equal visible tokens"


def test_before_two_have_finished_nothing_is_compared(study) -> None:
    study.journal(study.trial(state="running"), [1.0])
    assert "No trial has finished" in budget_words(read_trials(study.submission()))
    study.journal(study.trial(seed=1), [1.0])
    assert "One trial has finished" in budget_words(read_trials(study.submission()))
