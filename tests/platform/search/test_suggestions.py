"""Points that a search adds to a submission: from what the storage holds, and from nothing else."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

from mimlab.probe.due import reads_of, settings_of
from mimlab.search.submission import (
    PlannedStudy,
    create,
    plan_study,
    reopen,
    storage_of,
    unfinished,
)
from mimlab.search.suggestions import Suggestions, observed
from mimlab.search.tpe import Observation
from mimlab.spec.load import LoadedStudy, load_study
from mimlab.spec.study import trial_spec
from mimlab.storage.folders import SubmissionFolder, TrialFolder
from mimlab.storage.records import ProbeRecord, StatusRecord, TrialRecord, TrialState
from mimlab.storage.store import Store

KNN = "probe/knn/top1"
SWEEP = """\
sweep:
  axes:
    masking.name: [random, block]
    masking.ratio: {low: 0.3, high: 0.9}
  when:
    - {if: {masking.name: block}, axes: {masking.min_area: {low: 1, high: 8, integer: true}}}
  seeds: [0, 1]
  search: {name: optuna, num_trials: 5, startup_trials: 3, metric: probe/knn/top1}
"""


class Study(NamedTuple):
    loaded: LoadedStudy
    planned: PlannedStudy
    submission: SubmissionFolder


@pytest.fixture
def study(tmp_path: Path, tiny_study: str) -> Study:
    """A search that was submitted and has not begun."""
    file = tmp_path / "tiny.yaml"
    file.write_text(tiny_study + SWEEP)
    loaded = load_study(file)
    planned = plan_study(loaded)
    return Study(loaded, planned, create(storage_of(planned.study), planned, loaded))


def suggestions(submission: SubmissionFolder, planned: PlannedStudy) -> Suggestions:
    assert planned.space is not None
    return Suggestions(submission, planned, planned.space)


def ended(
    trial: TrialFolder, state: TrialState, *scores: float, step: int = 10, **settings: int
) -> None:
    """As if the trial had run, with a probe result every `step` steps; `settings`: those of its
    probe that another study had otherwise."""
    trial.write_status(StatusRecord(state=state))
    record = trial.store.read_record(trial.file("trial.json"), TrialRecord)
    assert record is not None
    spec = trial_spec(record.resolved)
    asked = settings_of(spec.probes[0], reads_of(spec))
    for number, score in enumerate(scores, 1):
        record = ProbeRecord(
            probe="knn",
            protocol="knn/1",
            settings=asked | settings,
            step=number * step,
            epoch=float(number),
            metrics={KNN: score},
            encoder_hash="",
            data_fingerprint="",
            num_fit=1,
            num_test=1,
            seconds=0.0,
            time_ms=0,
        )
        trial.store.write_record(trial.file(f"probes/knn-{number * step:09d}.json"), record)


def end_all(trials: Sequence[TrialRecord], store: Store) -> None:
    for record in trials:
        ratio = record.resolved["masking"]["ratio"]
        ended(TrialFolder(store, record.id), "finished", 1 - abs(ratio - 0.6))


def test_a_submission_begins_with_the_points_by_chance(study: Study) -> None:
    assert len(study.planned.trials) == 3 * 2
    assert study.planned.num_trials == 5 * 2
    assert suggestions(study.submission, study.planned).left == 2


def test_each_point_is_written_once_with_every_seed(study: Study) -> None:
    _, planned, submission = study
    end_all(planned.trials, submission.store)
    search = suggestions(submission, planned)
    added = [*search.add(), *search.add()]
    assert search.left == 0 and search.add() == []
    assert [record.seed for record in added] == [0, 1, 0, 1]
    assert submission.trial_records() == [*planned.trials, *added]
    ids = [trial.id for trial in submission.trials()]
    assert ids == [record.id for record in submission.trial_records()] and len(set(ids)) == 10
    for record in added:
        assert TrialFolder(submission.store, record.id).record() == record
        assert record.point["masking.ratio"] == record.coordinates["masking.ratio"]


def test_another_driver_adds_what_this_one_would_have(study: Study, tmp_path: Path) -> None:
    """From the folders alone, wherever they lie by then."""
    _, planned, submission = study
    end_all(planned.trials, submission.store)
    copy = tmp_path / "copy"
    shutil.copytree(str(submission.store.root), copy)
    elsewhere = SubmissionFolder(Store(copy), submission.id)
    here = suggestions(submission, planned).add()
    there = suggestions(elsewhere, reopen(elsewhere)).add()
    assert [record.identity for record in here] == [record.identity for record in there]
    end_all(here, submission.store)
    end_all(there, elsewhere.store)
    here = suggestions(submission, planned).add()
    there = suggestions(elsewhere, reopen(elsewhere)).add()
    assert [record.coordinates for record in here] == [record.coordinates for record in there]


def test_what_came_of_the_points_decides_the_next(study: Study, tmp_path: Path) -> None:
    _, planned, submission = study
    copy = tmp_path / "copy"
    shutil.copytree(str(submission.store.root), copy)
    elsewhere = SubmissionFolder(Store(copy), submission.id)
    end_all(planned.trials, submission.store)
    for record in planned.trials:
        ended(TrialFolder(elsewhere.store, record.id), "failed")
    here = suggestions(submission, planned).add()
    there = suggestions(elsewhere, reopen(elsewhere)).add()
    assert here[0].coordinates != there[0].coordinates


def test_a_submission_with_points_to_come_is_unfinished(study: Study) -> None:
    _, planned, submission = study
    end_all(planned.trials, submission.store)
    found = unfinished(submission.store, planned)
    assert found is not None and found.id == submission.id
    search = suggestions(submission, planned)
    while added := search.add():
        end_all(added, submission.store)
    assert unfinished(submission.store, planned) is None


@pytest.fixture
def seeds(study: Study) -> list[TrialFolder]:
    """The two trials of one point."""
    return study.submission.trials()[:2]


def seen(study: Study, seeds: Sequence[TrialFolder]) -> Observation:
    return observed(seeds, study.planned.trials[0], KNN)


def test_a_point_counts_by_the_mean_of_the_last_values_of_its_seeds(study: Study, seeds) -> None:
    ended(seeds[0], "finished", 0.9, 0.5)
    assert seen(study, seeds).state == "running"
    ended(seeds[1], "finished", 0.1, 0.7)
    found = seen(study, seeds)
    assert (found.state, found.value) == ("finished", pytest.approx(0.6))
    assert found.coordinates == study.planned.trials[0].coordinates


def test_a_seed_that_was_probed_otherwise_has_no_value_yet(study: Study, seeds) -> None:
    ended(seeds[0], "finished", 0.9)
    ended(seeds[1], "finished", 0.7, k=99)
    found = seen(study, seeds)
    assert (found.state, found.value) == ("finished", None)


@pytest.mark.parametrize("state", ["failed", "diverged"])
def test_a_point_of_which_a_seed_failed_has_failed(study: Study, seeds, state: TrialState) -> None:
    ended(seeds[0], "finished", 0.9)
    ended(seeds[1], state, 0.9)
    assert seen(study, seeds) == Observation(study.planned.trials[0].coordinates, "failed")


def test_a_pruned_point_says_how_far_it_came(study: Study, seeds) -> None:
    ended(seeds[0], "finished", 0.4, 0.8)
    ended(seeds[1], "pruned", 0.2)
    found = seen(study, seeds)
    assert (found.state, found.step, found.value) == ("pruned", 10, pytest.approx(0.5))


def test_a_point_that_was_not_measured_has_no_value(study: Study, seeds) -> None:
    ended(seeds[0], "finished", 0.4)
    ended(seeds[1], "finished")
    assert seen(study, seeds).value is None
