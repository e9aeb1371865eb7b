"""Which trials of a study have steps of one shape."""

from __future__ import annotations

from pathlib import Path

import pytest

from mimlab.search.shapes import shapes
from mimlab.search.submission import plan_study
from mimlab.spec.load import load_study

QUICKSTART = Path(__file__).parents[3] / "sweeps" / "quickstart.yaml"


@pytest.mark.slow
def test_trials_of_one_shape_do_the_same_arithmetic(tmp_path: Path) -> None:
    changes = ["sweep.seeds=[0, 1]", f"storage={tmp_path}"]
    groups = shapes(plan_study(load_study(QUICKSTART, overrides=changes)))
    ratios = [{record.point["masking.ratio"] for record in group} for group in groups]
    assert ratios == [{0.5}, {0.75}]
    assert [len(group) for group in groups] == [4, 4]
