"""Seed means, heat maps and parallel coordinates of a submission, by closed forms."""

from __future__ import annotations

import pytest

from mimlab.serve.reading import Reading, heatmap, parallel, seed_means

KNN = "probe/knn/top1"


@pytest.fixture
def detail(storage):
    """Two maskings at two ratios with three seeds; the last seed of each has not finished."""
    trials = []
    for name, base in (("random", 0.5), ("block", 0.3)):
        for ratio in (0.75, 0.5):
            for seed in range(3):
                trial = storage.trial(name, ratio, seed)
                storage.probe(trial, 10, base + ratio / 10 + 0.02 * seed)
                storage.status(trial, "finished" if seed < 2 else "running", 10)
                trials.append(trial)
    unscored = storage.trial("block", 0.9)
    submission = storage.submission(trials=[*trials, unscored])
    return Reading(storage.store).submission(submission.id)


def test_seed_means_count_finished_trials(detail) -> None:
    means = {found.label: found for found in seed_means(detail, KNN)}
    assert set(means) == {"random 0.75", "random 0.5", "block 0.75", "block 0.5"}
    one = means["random 0.5"]
    assert one.scores == {0: pytest.approx(0.55), 1: pytest.approx(0.57)}
    assert one.mean == pytest.approx(0.56)
    assert one.half_width == pytest.approx(12.7062 * 0.01, rel=1e-4)  # t(0.975; 1) · std ÷ √2
    assert one.unfinished == 1


def test_a_heat_map_has_the_same_means_and_no_score_is_no_cell(detail) -> None:
    found = heatmap(detail, KNN)
    assert found.columns == ["0.5", "0.75", "0.9"]
    assert found.rows == ["block", "random"]
    assert found.means[1][0] == pytest.approx(0.56)
    assert found.means[0][2] is None
    assert found.counts == [[2, 2, 0], [2, 2, 0]]


def test_a_parallel_line_goes_through_every_axis_to_its_score(detail) -> None:
    found = parallel(detail, KNN)
    assert found.axes == ["masking.name", "masking.ratio"]
    assert len(found.lines) == 8  # an earlier epoch is no match for the end of its own cell
    assert found.lines[0] == ["random", 0.75, pytest.approx(0.575)]


def test_metrics_are_in_the_order_of_the_study(detail) -> None:
    assert detail.metrics == [KNN]
    assert detail.axes == ["masking.name", "masking.ratio"]
