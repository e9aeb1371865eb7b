"""`mimlab compare` on a submission whose trials have come differently far."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

import pytest

from mimlab.storage.folders import SubmissionFolder, TrialFolder
from mimlab.storage.journal import Journal
from mimlab.storage.records import ProbeRecord, StatusRecord, TrialState

KNN, LINEAR = "probe/knn/top1", "probe/linear/top1"


def ended(trial: TrialFolder, state: TrialState) -> None:
    trial.write_status(StatusRecord(state=state, reason="as it went"))
    journal = Journal(trial)
    for step, speed in enumerate((10.0, 1200.0, 1300.0), start=1):
        journal.append(step, {"train/images_per_s": speed, "mask/ratio_realised": 0.4375})
    journal.flush()


def probed(trial: TrialFolder, step: int, key: str, score: float) -> None:
    write_probe(trial, trial.file(f"probes/{key.split('/')[1]}-{step:09d}.json"), key, score, step)


def write_probe(
    folder: TrialFolder | SubmissionFolder, path: str, key: str, score: float, step: int = 0
) -> None:
    *encoder, probe, _ = key.split("/")
    record = ProbeRecord(
        probe=probe,
        protocol=f"{probe}/1",
        settings={},
        step=step,
        epoch=1.0,
        metrics={key: score, key.replace("top1", "top5"): 1.0},
        encoder_hash=encoder[-1],
        data_fingerprint="data",
        num_fit=10,
        num_test=10,
        seconds=1.0,
        time_ms=1,
    )
    folder.store.write_record(path, record)


@pytest.fixture
def submission(folder, create_study: Callable) -> SubmissionFolder:
    """Two ratios with two seeds each: none of them started."""
    changes = ("sweep.seeds=[0, 1]", f"storage={folder}/runs")
    return create_study(folder / "tiny.yaml", *changes).submission


@pytest.fixture
def half_done(submission: SubmissionFolder) -> SubmissionFolder:
    """One ratio finished, of the other one seed pruned and one failed."""
    scores: Sequence[tuple[TrialState, float]] = (
        ("finished", 0.7),
        ("finished", 0.8),
        ("pruned", 0.9),
    )
    for trial, (state, score) in zip(submission.trials(), scores, strict=False):
        ended(trial, state)
        probed(trial, 100, KNN, 0.99)
        probed(trial, 200, KNN, score)
    probed(submission.trials()[0], 200, LINEAR, 0.6)
    submission.trials()[3].write_status(StatusRecord(state="failed", reason="out of luck"))
    for name, score in (("random-init", 0.5), ("raw-pixels", 0.95)):
        path = submission.file(f"baselines/{name}-knn.json")
        write_probe(submission, path, f"baseline/{name}/knn/top1", score)
    return submission


def test_a_row_is_a_point_with_its_last_scores_over_seeds(call, half_done) -> None:
    said = call("compare", "tiny", "--json")
    assert (said.code, said.err) == (0, "")
    found = json.loads(said.out)
    assert (found["submission"], found["study"]) == (half_done.id, "tiny")
    assert found["metrics"] == [KNN, LINEAR]
    done, other = found["rows"]
    assert (done["label"], done["ratio_asked"], done["ratio_realised"]) == ("random", 0.5, 0.4375)
    assert done["scores"] == {KNN: [0.7, 0.8], LINEAR: [0.6]}
    assert done["images_per_s"] == 1200.0
    assert other["states"] == ["pruned", "failed"] and other["scores"] == {KNN: [0.9]}
    assert [(b["label"], b["scores"]) for b in found["baselines"]] == [
        ("random-init", {KNN: [0.5]}),
        ("raw-pixels", {KNN: [0.95]}),
    ]


def test_the_best_trial_is_the_finished_one_with_the_best_score(call, half_done) -> None:
    """A pruned one was measured earlier: its score is no match for that of a finished one."""
    found = json.loads(call("compare", "tiny", "--json").out)
    assert found["best_trial"] == half_done.trials()[1].id


def test_the_table_says_what_the_json_says(call, half_done) -> None:
    """By its id as by the study's name."""
    for name in ("tiny", half_done.id):
        said = call("compare", name)
        assert said.code == 0
        lines = [line for line in said.out.splitlines() if "random" in line]
        assert "(failed, pruned)" in lines[0] and "0.9000" in lines[0]
        assert "0.7500 ± 0.0707" in lines[1] and "0.6000" in lines[1] and "1,200" in lines[1]
        assert "random-initialised encoder" in lines[2] and "0.5000" in lines[2]
        assert "Raw pixels beat every encoder by knn." in said.out
        assert f"Best trial by knn: {half_done.trials()[1].id}" in said.out


def test_a_failed_seed_does_not_lend_its_place_to_another(call, submission) -> None:
    """Seeds without a score leave the others' scores with their own trials."""
    first, second, *_ = submission.trials()
    first.write_status(StatusRecord(state="failed"))
    ended(second, "finished")
    probed(second, 200, KNN, 0.8)
    found = json.loads(call("compare", "tiny", "--json").out)
    assert found["best_trial"] == second.id


def test_a_study_that_has_not_begun_has_rows_without_scores(call, submission) -> None:
    found = json.loads(call("compare", "tiny", "--json").out)
    assert found["metrics"] == [] and found["best_trial"] is None
    assert [row["states"] for row in found["rows"]] == [["pending", "pending"]] * 2
    assert "random (pending)" in call("compare", "tiny").out


def test_it_writes_a_report_and_tables_and_says_so(call, folder, half_done) -> None:
    files = {form: folder / f"out.{form}" for form in ("html", "csv", "latex")}
    options = [part for form, file in files.items() for part in (f"--{form}", file)]
    said = call("compare", "tiny", *options)
    assert (said.code, said.err) == (0, "")
    assert all(f"wrote {file}" in said.out for file in files.values())
    assert files["html"].read_text().startswith("<!doctype html>")
    assert len(files["csv"].read_text().splitlines()) == 1 + len(half_done.trials())
    assert r"\begin{tabular}" in files["latex"].read_text()
    # Nothing temporary is left beside them.
    assert sorted(path.name for path in folder.glob("*out.*")) == [
        "out.csv",
        "out.html",
        "out.latex",
    ]


def test_json_stays_json_beside_a_file(call, folder, half_done) -> None:
    said = call("compare", "tiny", "--json", "--csv", folder / "out.csv")
    assert json.loads(said.out)["study"] == "tiny"
    assert (folder / "out.csv").exists()


def test_a_study_that_has_not_begun_has_files_too(call, folder, submission) -> None:
    said = call("compare", "tiny", "--html", "r.html", "--csv", "t.csv", "--latex", "t.tex")
    assert said.code == 0
    assert "4 pending" in (folder / "r.html").read_text()
    assert (folder / "t.csv").read_text().count("pending") == 4


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--html", "nowhere/r.html"], "nowhere/r.html: there is no folder"),
        (["--csv", "."], ".: this is a folder; name a file in it"),
        (["--csv", "same", "--latex", "same"], "same: named for two formats"),
    ],
)
def test_a_file_that_cannot_be_written_is_refused(
    call, folder, half_done, options: list[str], words: str
) -> None:
    before = sorted(folder.iterdir())
    said = call("compare", "tiny", *options)
    assert said.code == 2 and said.out == ""
    assert words in said.words and said.err.startswith("error: ")
    assert sorted(folder.iterdir()) == before


def test_one_bad_file_stops_the_others_from_being_written(call, folder, half_done) -> None:
    said = call("compare", "tiny", "--csv", "good.csv", "--html", "nowhere/r.html")
    assert said.code == 2
    assert not (folder / "good.csv").exists()


def test_results_that_are_not_there_are_named(call, folder) -> None:
    said = call("compare", "tiny", "--storage", "nowhere", "--html", "r.html")
    assert said.code == 2
    assert "nowhere: there is no submission 'tiny'" in said.words
    assert not (folder / "r.html").exists()
