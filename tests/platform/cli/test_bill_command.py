"""`mimlab plan` measures what it bills, on the machine that would run it, and keeps nothing."""

from __future__ import annotations

import json

import pytest

from mimlab.search.preview import Preview

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def planned(make_lab):
    """A lab, and what `plan` said there as JSON and as text."""
    lab = make_lab()
    said = lab.call("plan", "tiny.yaml", "--json", "--set", "resources.max_cpu_hours=1e-4")
    return lab, said, lab.call("plan", "tiny.yaml", "--set", "sweep.axes={masking.ratio: [0.5]}")


def test_the_bill_is_measured_and_adds_up(planned) -> None:
    _, said, _ = planned
    assert said.code == 0 and said.noise == [], said
    bill = Preview.model_validate(json.loads(said.out)).bill
    assert bill is not None
    assert (bill.trials, bill.steps, bill.unit, bill.at_once) == (2, 1200, "CPU-hours", 1)
    for shape in bill.shapes:
        takes = shape.measured
        assert takes.step_s > 0 and takes.start_s > 0
        assert set(takes.probe_s) == {"knn", "linear"}
        # Python with torch and Ray, but not a machine's worth of it.
        assert 200 * 2**20 < takes.peak_bytes < 4 * 2**30 < takes.there_bytes
        assert 100_000 < takes.export_bytes < takes.checkpoint_bytes < 10_000_000
        assert shape.hours.low == shape.hours.high > 600 * takes.step_s / 3600
    assert bill.hours.high == pytest.approx(sum(shape.hours.high for shape in bill.shapes))
    assert bill.wall_s.high > bill.hours.high * 3600


def test_a_bill_above_the_limit_is_told(planned) -> None:
    _, said, _ = planned
    (warning,) = Preview.model_validate(json.loads(said.out)).warnings
    assert "resources.max_cpu_hours: the bill exceeds the limit of 0.0001" in warning


def test_text_has_a_column_for_each_shape(planned) -> None:
    _, _, said = planned
    assert said.code == 0 and said.noise == [], said
    for shown in ("the bill, 1 trial at once", "masking.ratio=0.5", "CPU-hours", "memory"):
        assert shown in said.words


def test_nothing_but_the_built_in_data_is_kept(planned) -> None:
    lab, _, _ = planned
    assert [path.name for path in lab.store.root.iterdir()] == ["data"]
