"""A study's bill from what its shapes take: nothing is run here."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mimlab.data.builtin import built_in
from mimlab.search.bill import Bill, gib
from mimlab.search.costs import Measured, Range
from mimlab.search.estimate import add_up, open_trials
from mimlab.search.submission import PlannedStudy, plan_study, storage_of
from mimlab.search.work import judging_of, work_of
from mimlab.spec.load import load_study
from mimlab.storage.folders import TrialFolder
from mimlab.storage.records import StatusRecord, TrialState
from mimlab.train.checkpoint import MANIFEST_FILE

STUDY = """
study: tiny
data: {images: digits, image_size: 16, subset: 1000}
backbone: {name: vit_tiny_patch16_224, patch_size: 4, embed_dim: 32, depth: 1, num_heads: 2}
objective: {name: mae, decoder_width: 16, decoder_depth: 1, decoder_heads: 2}
target: {name: pixels}
masking: {name: random, ratio: 0.75}
train:
  budget: {epochs: 9}
  batch_size: 100
  log_every: 5
  checkpoint: {every_epochs: 4, keep_last: 2}
probes:
  - {name: knn, every_epochs: 2}
  - {name: linear, at: end}
sweep:
  axes: {masking.ratio: [0.5, 0.75]}
  seeds: [0, 1]
resources: {cpus_per_worker: 1, concurrent_trials: 1}
storage: results
"""
"""Four trials of 90 steps; ten are an epoch."""
ASHA = "sweep.stopping={name: asha, metric: probe/knn/top1, grace_epochs: 1, reduction_factor: 2}"
SMALL = "resources={cpus_per_worker: 0.05, concurrent_trials: 2}"
"""Two trials at once on any machine."""
GIB = 2**30


def takes(**changes: Any) -> Measured:
    base = {
        "step_s": 1.0,
        "save_s": 0.5,
        "start_s": 10.0,
        "probe_s": {"knn": 2.0, "linear": 7.0},
        "peak_bytes": GIB,
        "there_bytes": 8 * GIB,
        "checkpoint_bytes": 1000,
        "export_bytes": 100,
        "point_bytes": 7,
    }
    return Measured.model_validate(base | changes)


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built_in("digits", tmp_path_factory.mktemp("digits"))


@pytest.fixture
def plan(tmp_path: Path, digits: Path):
    def planned(*changes: str) -> PlannedStudy:
        file = tmp_path / "tiny.yaml"
        file.write_text(STUDY)
        return plan_study(load_study(file, None, [f"data.images={digits}", *changes]))

    return planned


def bill(planned: PlannedStudy, *measured: Measured) -> Bill:
    return add_up(planned, open_trials(planned), measured or [takes(), takes(step_s=2.0)])


def folders(planned: PlannedStudy) -> list[TrialFolder]:
    return [TrialFolder(storage_of(planned.study), record.id) for record in planned.trials]


def in_state(trial: TrialFolder, state: TrialState) -> None:
    trial.write_status(StatusRecord(state=state))


HELD = [90 * step_s + 5 * 0.5 + 5 * 2.0 + 7.0 for step_s in (1.0, 2.0)]
"""Seconds of a trial of each shape: at epochs 2, 4, 6, 8 and 9 it saves, and knn runs."""


def test_every_step_save_and_probe_is_on_the_bill(plan) -> None:
    found = bill(plan())
    half, quarter = found.shapes
    assert [s.trials for s in found.shapes] == [2, 2]
    assert (half.steps, found.steps, found.trials) == (180, 360, 4)
    assert half.images_per_s == 100 and quarter.images_per_s == 50
    for shape, held in zip(found.shapes, HELD, strict=True):
        assert shape.hours.low == shape.hours.high == pytest.approx(2 * held / 3600)
        assert shape.wall_s.high == pytest.approx(2 * (held + 10.0))
    assert found.hours.high == pytest.approx(2 * sum(HELD) / 3600)
    assert found.wall_s.high == pytest.approx(2 * sum(HELD) + 4 * 10.0)


def test_storage_is_what_retention_keeps(plan) -> None:
    each = 3 * 1000 + 5 * 100 + 18 * 7  # two last and one best; an export for each probe
    found = bill(plan())
    assert [shape.storage_bytes for shape in found.shapes] == [2 * each] * 2
    assert found.storage_bytes == 4 * each + 1000


def test_under_asha_the_bill_is_a_range(plan) -> None:
    """Rungs at epochs 1, 2, 4, 8; results at 2, 4, 6, 8: of 4 trials 2 pass step 20, then 1."""
    planned = plan(ASHA)
    (first, *_), judging = folders(planned), judging_of(planned)
    assert judging.epochs == pytest.approx([1, 2, 4, 8])
    assert work_of(planned, planned.trials[0], first, 0, judging).judged == (20, 40, 80)
    found = bill(planned, takes(), takes())
    steps = (4 * 20 + 2 * 20 + 1 * 50) * 1.0
    saves = (4 + 2 + 1 + 1 + 1) * (0.5 + 2.0)
    assert found.hours.low == pytest.approx((steps + saves + 7.0) / 3600)
    assert found.hours.high == pytest.approx(4 * HELD[0] / 3600)
    # One trial runs to its end, though the mean over trials is shorter.
    at_once = bill(plan(ASHA, "sweep.seeds=[0]", SMALL), takes(), takes())
    assert at_once.wall_s.low == pytest.approx(HELD[0] + 10.0)


def test_what_is_done_is_not_billed(plan) -> None:
    planned = plan()
    finished, failed, started, _ = folders(planned)
    in_state(finished, "finished")
    in_state(failed, "diverged")
    in_state(started, "stopped")
    started.store.write(started.file(f"checkpoints/step_000000060/{MANIFEST_FILE}"), b"{}")
    found = bill(planned, takes())
    assert (found.finished, found.failed, found.trials) == (1, 1, 2)
    assert found.steps == 30 + 90
    left = 30 * 1.0 + 2 * 0.5 + 2 * 2.0 + 7.0
    assert found.hours.high == pytest.approx((left + HELD[0]) / 3600)


def test_a_study_that_is_finished_costs_nothing(plan) -> None:
    planned = plan()
    for trial in folders(planned):
        in_state(trial, "finished")
    found = add_up(planned, open_trials(planned), [])
    assert (found.trials, found.finished, found.hours.high, found.wall_s.high) == (0, 4, 0, 0)
    assert found.warnings([]) == []


def test_a_bill_that_fits_has_no_warning(plan) -> None:
    fits = "resources={cpus_per_worker: 1, max_cpu_hours: 5}"
    assert bill(plan(fits)).warnings(["", ""]) == []


@pytest.mark.parametrize(("hours", "word"), [(0.05, "exceeds"), (0.1, "may exceed")])
def test_a_bill_above_the_limit_says_so(plan, hours: float, word: str) -> None:
    limit = f"resources={{cpus_per_worker: 1, concurrent_trials: 1, max_cpu_hours: {hours}}}"
    (warning,) = bill(plan(ASHA, limit), takes(), takes()).warnings(["", ""])
    assert f"resources.max_cpu_hours: the bill {word} the limit of {hours}" in warning
    assert f"it comes to {4 * HELD[0] / 3600:.3g} CPU-hours" in warning


def test_memory_that_is_not_there_is_told_with_what_would_fit(plan) -> None:
    planned = plan(SMALL)
    found = bill(planned, takes(there_bytes=int(1.5 * GIB)), takes())
    (warning,) = found.warnings(["the remedy", ""])
    workers = "2 workers at once × 1.0 GiB need 2.0 GiB"
    assert f"memory: masking.ratio=0.5 will not fit: {workers}, and there are 1.5 GiB" in warning
    assert "resources.concurrent_trials: 1, a smaller train.batch_size; the remedy" in warning
    none_fits = bill(planned, takes(there_bytes=GIB // 2), takes())
    assert "concurrent_trials" not in none_fits.warnings(["", ""])[0]


def test_storage_that_is_full_is_told(plan) -> None:
    found = bill(plan()).model_copy(update={"free_bytes": 1000})
    (warning,) = found.warnings(["", ""])
    assert f"will be written and {gib(1000)} are free" in warning
    assert "train.checkpoint.keep_last" in warning


def test_the_order_of_trials_is_the_studys(plan) -> None:
    """Shapes alternate; two places are filled in that order."""
    planned = plan(SMALL)
    mixed = replace(planned, trials=[planned.trials[i] for i in (0, 2, 1, 3)])
    slow, fast = HELD[1] + 10, HELD[0] + 10
    assert bill(planned).wall_s.high == pytest.approx(fast + slow)
    assert bill(mixed).wall_s.high == pytest.approx(2 * slow)


def test_a_bill_of_thousands_of_hours_is_counted_out(plan) -> None:
    found = bill(plan()).model_copy(
        update={"limit_hours": 1500, "hours": Range(low=1234.5, high=2345.6), "spent_hours": 1000.0}
    )
    (warning,) = found.warnings(["", ""])
    assert "the limit of 1,500: it comes to 3,346 CPU-hours, of which 1,000 are spent" in warning
