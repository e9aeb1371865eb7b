"""Figures hold what the read model says."""

from __future__ import annotations

import pytest

from mimlab.serve.pages.parts import figures
from mimlab.serve.reading import Reading, heatmap, parallel, seed_means

KNN = "probe/knn/top1"


@pytest.fixture
def detail(storage):
    trials = [
        storage.trial(n, r, s) for n in ("random", "block") for r in (0.5, 0.75) for s in (0, 1)
    ]
    for i, trial in enumerate(trials):
        storage.probe(trial, 10, 0.5 + i / 100)
        storage.status(trial, "finished", 10)
        storage.points(trial, [2.0, 1.0 + i])
    submission = storage.submission(trials=trials)
    return Reading(storage.store).submission(submission.id)


def test_a_heat_map_says_its_means_in_percent(detail) -> None:
    (trace,) = figures.heat_map(heatmap(detail, KNN))["data"]  # type: ignore[misc]
    assert trace["x"] == ["0.5", "0.75"] and trace["y"] == ["block", "random"]
    assert [list(map(float, row)) for row in trace["z"]] == [
        [pytest.approx(54.5), pytest.approx(56.5)],
        [pytest.approx(50.5), pytest.approx(52.5)],
    ]


def test_lines_go_through_every_trial(detail) -> None:
    traces = figures.parallel(parallel(detail, KNN))["data"]
    assert len(traces) == 8  # type: ignore[arg-type]
    heights = [trace["y"][-1] for trace in traces]  # type: ignore[union-attr]
    assert heights[0] == 0 and heights[-1] == 1 and heights == sorted(heights)


def test_seeds_means_and_baselines(detail) -> None:
    baselines = {"raw-pixels": {KNN: 0.6}}
    figure = figures.seed_means(seed_means(detail, KNN), KNN, baselines)
    diamonds = [t for t in figure["data"] if t.get("marker", {}).get("symbol") == "diamond"]  # type: ignore[union-attr]
    assert [t["x"][0] for t in diamonds] == [pytest.approx(v) for v in (50.5, 52.5, 54.5, 56.5)]
    names = [t["name"] for t in figure["data"] if t.get("name")]  # type: ignore[union-attr]
    assert names == ["raw pixels 60.0 %"]


def test_trials_of_a_cell_share_a_colour(storage, detail) -> None:
    ids = [trial.id for trial in detail.trials]
    curves = Reading(storage.store).curves(ids, ["train/loss"], 100)
    labels = {trial.id: trial.label for trial in detail.trials}
    cells = {trial.id: trial.cell for trial in detail.trials}
    traces = figures.curves(curves, labels, cells)["data"]
    colours = {t["name"]: t["line"]["color"] for t in traces}  # type: ignore[union-attr]
    assert len(set(colours.values())) == 4
    assert sum(t["showlegend"] for t in traces) == 4  # type: ignore[union-attr]
