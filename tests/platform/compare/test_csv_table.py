"""The CSV holds what the records hold, to the last digit."""

from __future__ import annotations

import csv
import io

from mimlab.compare.csv_table import csv_of
from mimlab.compare.trials import read_trials

KNN, LINEAR = "probe/knn/top1", "probe/linear/top1"
THIRD = 1 / 3


def lines(study) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(csv_of(read_trials(study.submission())))))


def test_a_line_is_a_trial_and_its_numbers_are_those_of_the_records(study) -> None:
    for seed, loss in ((0, 0.1 + 0.2), (1, THIRD)):
        trial = study.trial("block", 0.75, seed, axes={"train.base_lr": 1e-4 * THIRD})
        study.journal(trial, [1.0, loss], images_per_s=1000 * THIRD, wait_share=THIRD)
        study.probe(trial, 10, KNN, 0.9)
        study.probe(trial, 20, KNN, THIRD + seed)
    first, second = lines(study)
    assert (first["seed"], second["seed"]) == ("0", "1")
    assert float(first["train/loss"]) == 0.1 + 0.2 and float(second["train/loss"]) == THIRD
    assert float(first[KNN]) == THIRD and float(second[KNN]) == THIRD + 1
    assert float(first["train.base_lr"]) == 1e-4 * THIRD
    assert float(first["images_per_s"]) == 1000 * THIRD
    assert (first["masking.name"], first["masking.ratio"]) == ("block", "0.75")
    assert float(first["images"]) == 20 * 64
    assert float(first["visible_tokens"]) == 20 * 64 * 16 * 0.25
    assert float(first["training_s"]) == 640 / (1000 * THIRD) * 2
    assert (first["devices"], first["device_kind"]) == ("6.0", "CPU")


def test_a_line_says_its_budget_and_at_which_the_study_compares(study) -> None:
    for ratio, points in ((0.5, 5), (0.75, 10)):
        trial = study.trial(ratio=ratio, budget_asked={"visible_tokens": 25_600.0})
        study.journal(trial, [1.0] * points)
    for line in lines(study):
        assert (line["budget"], float(line["budget_asked"])) == ("visible_tokens", 25_600)
        assert line["compared_at"] == "equal visible tokens"


def test_an_axis_has_its_own_column_and_is_empty_where_a_trial_has_it_not(study) -> None:
    study.trial("random", 0.5)
    study.trial("block", 0.5, axes={"masking.aspect": 0.3})
    first, second = lines(study)
    assert (first["masking.aspect"], second["masking.aspect"]) == ("", "0.3")


def test_what_is_not_there_is_empty(study) -> None:
    study.trial(seed=0, state="pending")
    failed = study.trial(seed=1)
    study.probe(failed, 10, KNN, 0.9)
    study.probe(failed, 20, KNN, None)
    study.probe(failed, 20, LINEAR, 0.5)
    pending, done = lines(study)
    assert pending["state"] == "pending"
    assert [pending[key] for key in ("images", "training_s", LINEAR)] == ["", "", ""]
    # The last evaluation failed: an older score must not stand for it.
    assert KNN not in done and done[LINEAR] == "0.5"


def test_a_comma_in_a_name_does_not_make_a_column(study) -> None:
    study.trial("random", 0.5, axes={"data.classes": 'cat, "dog"'})
    (line,) = lines(study)
    assert line["data.classes"] == 'cat, "dog"'
