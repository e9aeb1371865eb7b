"""A study that chooses its trials as it goes, stopped by its user while one of them trains."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import pytest

from mimlab.storage.folders import submissions
from mimlab.storage.records import TrialRecord

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]

SWEEP = """\
  axes:
    masking.name: [random, block]
    train.optimizer.base_lr: {low: 1.0e-3, high: 1.0e-2, log: true}
  when:
    - {if: {masking.name: block}, axes: {masking.min_area: {low: 1, high: 4, integer: true}}}
  search: {name: optuna, num_trials: 3, startup_trials: 1, metric: probe/knn/top1}
resources: {cpus_per_worker: 1, concurrent_trials: 1}
"""


class Searched(NamedTuple):
    """A search that Ctrl-C stopped in the first trial that it chose, its continuation, and the same
    study once more."""

    lab: Any
    first: Any
    before: list[TrialRecord]
    second: Any
    again: Any


@pytest.fixture(scope="module")
def searched(make_lab, tiny: str) -> Searched:
    study = tiny.partition("  axes:")[0] + SWEEP
    lab = make_lab(study.replace("  - {name: linear, at: end, epochs: 5}\n", ""))
    driver = lab.start("run", "tiny.yaml")
    lab.mid_training(1, driver)
    driver.interrupt()
    first = driver.ended()
    before = lab.submission.trial_records()
    second = lab.call("run", "tiny.yaml")
    return Searched(lab, first, before, second, lab.call("run", "tiny.yaml", "--new"))


def test_a_stopped_search_goes_on_with_the_trial_that_it_was_at(searched: Searched) -> None:
    assert searched.first.code == 1, searched.first
    assert searched.second.code == 0, searched.second
    assert "going on with submission" in searched.second.words
    assert searched.second.err == "" and searched.second.noise == []
    submission, _ = submissions(searched.lab.store)
    records = submission.trial_records()
    assert len(searched.before) == 2
    assert records[:2] == searched.before
    assert [trial.id for trial in submission.trials()] == [record.id for record in records]
    assert [trial.status().state for trial in submission.trials()] == ["finished"] * 3
    assert submission.trials()[1].status().attempt == 2


def test_every_point_is_another_one_of_the_space(searched: Searched) -> None:
    submission, _ = submissions(searched.lab.store)
    points = [record.coordinates for record in submission.trial_records()]
    assert len({json.dumps(point) for point in points}) == 3
    for point in points:
        assert 1e-3 <= point["train.optimizer.base_lr"] <= 1e-2
        assert ("when[0] masking.min_area" in point) == (point["masking.name"] == 1)


def test_mlflow_and_the_comparison_have_the_trials_that_were_added(searched: Searched) -> None:
    lab = searched.lab
    submission, _ = submissions(lab.store)
    for folder in (submission, *submission.trials()):
        assert lab.shown(folder).info.status == "FINISHED"
    found = json.loads(lab.call("compare", submission.id, "--json").out)
    ids = [trial_id for row in found["rows"] for trial_id in row["trial_ids"]]
    assert sorted(ids) == sorted(trial.id for trial in submission.trials())


def test_the_same_search_finds_the_same_points_and_reuses_them(searched: Searched) -> None:
    """What was chosen follows from the results alone, not from when the driver was stopped."""
    assert searched.again.code == 0, searched.again
    first, again = submissions(searched.lab.store)
    assert [t.id for t in again.trials()] == [t.id for t in first.trials()]
    assert [trial.status().attempt for trial in again.trials()] == [1, 2, 1]
