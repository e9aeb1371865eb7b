"""Features that no longer differ are flagged, by floors that a study may move."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from mimlab.probe.config import CollapseWatch
from mimlab.probe.task import probe_export

KNN = "probes=[{name: knn, k: 5, at: end}]"


@pytest.mark.parametrize(
    ("std", "rank", "said"),
    [
        (0.5, 20.0, ""),
        (0.05, 2.0, ""),
        (0.01, 20.0, "feature_std 0.01 below 0.05"),
        (0.5, 1.2, "effective_rank 1.2 below 2"),
        (0.0, 1.0, "feature_std 0 below 0.05, effective_rank 1 below 2"),
        (float("nan"), 20.0, "feature_std nan below 0.05"),
    ],
)
def test_what_is_below_its_floor_is_named(std: float, rank: float, said: str) -> None:
    assert CollapseWatch().judge({"feature_std": std, "effective_rank": rank}) == said


def test_a_study_moves_the_floors(exported: Callable) -> None:
    made = exported([24], KNN, "collapse={min_effective_rank: 60}")
    probe_export(made.order.model_dump(mode="json"), made.trial.id, 24, ["knn"])
    (record,) = made.trial.probes()
    rank = record.metrics["probe/knn/effective_rank"]
    assert record.collapse == f"effective_rank {rank:.3g} below 60"
    assert record.error == ""
