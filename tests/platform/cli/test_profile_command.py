"""`mimlab profile` runs real steps of each shape and keeps nothing of them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from mimlab.search.profile import ShapeProfile

QUICKSTART = Path(__file__).parents[3] / "sweeps" / "quickstart.yaml"
RATIOS = "sweep={axes: {masking.ratio: [0.5, 0.75]}}"


@pytest.mark.slow
def test_shares_add_up_and_nothing_is_kept(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mimlab.cli.main", "profile", str(QUICKSTART), "--json"]
    said = subprocess.run(
        [*command, "--set", RATIOS], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert said.returncode == 0, said
    half, quarter = (ShapeProfile.model_validate(shape) for shape in json.loads(said.stdout))
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
