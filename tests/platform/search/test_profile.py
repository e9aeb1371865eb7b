"""`mimlab profile` runs real steps of each shape and keeps nothing of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from mimlab.search.profile import profile, shapes
from mimlab.search.submission import plan_study
from mimlab.spec.load import load_study

QUICKSTART = Path(__file__).parents[3] / "sweeps" / "quickstart.yaml"


def test_trials_of_one_shape_do_the_same_arithmetic(tmp_path: Path) -> None:
    changes = ["sweep.seeds=[0, 1]", f"storage={tmp_path}"]
    groups = shapes(plan_study(load_study(QUICKSTART, overrides=changes)))
    ratios = [{record.point["masking.ratio"] for record in group} for group in groups]
    assert ratios == [{0.5}, {0.75}]
    assert [len(group) for group in groups] == [4, 4]


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.filterwarnings("ignore::DeprecationWarning:ray")
def test_shares_add_up_and_nothing_is_kept(tmp_path: Path) -> None:
    changes = [f"storage={tmp_path / 'runs'}", "sweep={axes: {masking.ratio: [0.5, 0.75]}}"]
    half, quarter = profile(load_study(QUICKSTART, overrides=changes), steps=40)
    for shape in (half, quarter):
        assert shape.trials == 1
        assert sum(shape.shares.values()) == pytest.approx(1, abs=0.1)
        assert min(shape.shares[name] for name in ("forward", "backward", "save")) > 0
        assert 0 < shape.flop_rate < shape.matrix_rate
        assert shape.peak_memory_bytes > 2**28
        assert set(shape.probe_s) == {"knn", "linear"}
    # Half as many tokens reach the encoder, as many as before the decoder.
    assert 0.5 < quarter.flops_per_image / half.flops_per_image < 1
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["data"]
