"""`mimlab probe` as its user calls it: a probe more for trials that have finished."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow import MlflowClient

from mimlab.storage import lease
from mimlab.storage.folders import TrialFolder
from mimlab.storage.records import ProbeRecord, StatusRecord, TrialsRecord, TrialState

ATTENTIVE = ("--probe", "attentive", "--set", "probe.epochs=1", "--storage", "results")
KEY = "probe/attentive/top1"


def end(made, state: TrialState = "finished"):
    """As a driver leaves a trial that it has run."""
    made.trial.write_status(StatusRecord(state=state, step=24, total_steps=24, attempt=1))
    lease.claim(made.trial, made.submission)
    return made


@pytest.fixture
def made(exported: Callable):
    """A finished trial with two exports, in the storage `results`, and its submission."""
    return end(exported([9, 24]))


def results(trial: TrialFolder) -> list[tuple[str, int]]:
    return [(record.probe, record.step) for record in trial.probes()]


def test_the_last_export_is_probed_and_shown(call, folder: Path, made) -> None:
    said = call("probe", made.trial.id, *ATTENTIVE)
    assert (said.code, said.err) == (0, "")
    (record,) = made.trial.probes()
    assert (record.probe, record.protocol, record.step) == ("attentive", "attentive/1", 24)
    assert record.settings["epochs"] == 1
    score = record.metrics[KEY]
    assert f"{made.trial.id} attentive at step 24: {score:.4f}" in said.out
    assert f"mimlab compare {made.submission.id}" in said.out
    link = made.trial.mlflow()
    client = MlflowClient(tracking_uri=f"sqlite:///{folder}/results/mlflow.db")
    (point,) = client.get_metric_history(link.run_id, KEY)
    assert (point.step, point.value) == (24, score)
    run = client.get_run(link.run_id)
    assert (run.info.status, run.data.tags["mimlab.state"]) == ("FINISHED", "finished")
    held = lease.current(made.trial.store, made.submission.id)
    assert held is not None and held.released


@pytest.mark.slow
def test_the_baselines_are_probed_once_for_all_trials(call, folder: Path, made) -> None:
    options = ("--probe", "low_shot", "--set", "probe.fraction=0.1", "--storage", "results")
    said = call("probe", made.trial.id, *options)
    baselines = {
        record.encoder_hash: record
        for record in (
            made.trial.store.read_record(made.submission.file(f"baselines/{name}"), ProbeRecord)
            for name in made.trial.store.list(made.submission.file("baselines"))
        )
    }
    assert sorted(baselines) == ["random-init", "raw-pixels"]
    for name, record in baselines.items():
        key = f"baseline/{name}/low_shot_10pct/top1"
        score = record.metrics[key]
        assert f"baseline {name} low_shot_10pct: {score:.4f}" in said.out
        client = MlflowClient(tracking_uri=f"sqlite:///{folder}/results/mlflow.db")
        (point,) = client.get_metric_history(made.submission.mlflow().run_id, key)
        assert point.value == score
    # The export is of weights that never trained: the same encoder, so the same score.
    own = made.trial.probes()[0].metrics["probe/low_shot_10pct/top1"]
    assert own == baselines["random-init"].metrics["baseline/random-init/low_shot_10pct/top1"]
    compared = call("compare", "tiny", "--storage", "results", "--json")
    rows = {row["label"]: row["scores"] for row in json.loads(compared.out)["baselines"]}
    assert all(rows[name]["probe/low_shot_10pct/top1"] for name in baselines)
    assert "baseline" not in call("probe", made.submission.id, *options, "--all-steps").out


@pytest.mark.slow
def test_it_goes_on_where_it_was_and_repeats_nothing(call, made) -> None:
    assert call("probe", made.trial.id, *ATTENTIVE).code == 0
    (first,) = made.trial.probes()
    again = call("probe", made.submission.id, *ATTENTIVE)
    assert again.code == 0 and "has its results of attentive already" in again.out
    more = call("probe", "tiny", *ATTENTIVE, "--all-steps")
    assert more.code == 0 and "at step 9:" in more.out and "at step 24:" not in more.out
    assert results(made.trial) == [("attentive", 9), ("attentive", 24)]
    assert made.trial.probes()[1] == first


@pytest.mark.slow
def test_a_study_file_means_its_latest_submission(call, folder: Path, made, tiny_study) -> None:
    file = folder / "elsewhere.yaml"
    file.write_text(tiny_study)
    said = call("probe", file, "--probe", "low_shot", "--set", "probe.fraction=0.1")
    assert (said.code, said.err) == (0, "")
    assert results(made.trial) == [("low_shot_10pct", 24)]
    compared = call("compare", "tiny", "--storage", "results", "--json")
    assert '"probe/low_shot_10pct/top1"' in compared.out


@pytest.mark.slow
def test_an_export_that_is_corrupt_is_named_and_the_others_are_probed(call, made) -> None:
    weights = made.trial.file("exports/step_000000009/encoder.safetensors")
    made.trial.store.write(weights, b"no weights")
    said = call("probe", made.trial.id, *ATTENTIVE, "--all-steps")
    assert said.code == 1
    assert "attentive at step 9: " in said.err and "export of step 9 is corrupt" in said.err
    assert results(made.trial) == [("attentive", 24)]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (
            ["--probe", "atentive"],
            "--probe atentive: probe.name: no probe is called 'atentive'; did you mean "
            "`attentive`? There are attentive, finetune, knn, linear",
        ),
        (["--probe", "knn", "--set", "probe.neighbours=3"], "--set probe.neighbours=3: "),
        (["--probe", "knn", "--set", "probe.k=0"], "greater than or equal to 1"),
        (["--probe", "knn", "--set", "k=3"], "a key of the probe is `probe.key=value`"),
        (["--probe", "knn", "--set", "probe.at=end"], "--all-steps probes every export"),
        (["--probe", "low_shot"], "probe.fraction: is missing and has no default"),
        (
            ["--probe", "finetune", "--set", "probe.epochs=1"],
            "probe.warmup_epochs: 2 is not below the 1 epochs",
        ),
    ],
)
def test_a_probe_that_cannot_be_is_one_line(call, made, arguments: list[str], told: str) -> None:
    said = call("probe", made.trial.id, *arguments, "--storage", "results")
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith("error: --") and told in said.err and said.err.count("\n") == 1
    assert made.trial.probes() == []


def test_a_study_that_names_no_label_maps_is_told_what_to_do(call, made) -> None:
    said = call("probe", made.trial.id, "--probe", "segmentation", "--storage", "results")
    assert (said.code, said.out) == (2, "")
    assert "segmentation reads label maps, and its study names none; add the probe" in said.err
    assert said.err.count("\n") == 1 and made.trial.probes() == []


def test_an_unknown_target_is_one_line(call, folder: Path, made) -> None:
    said = call("probe", "nothing", *ATTENTIVE)
    assert (said.code, said.out) == (2, "")
    assert f"{folder}/results: there is no submission 'nothing'" in said.err
    assert f"trials are: {made.trial.id}" in said.err and said.err.count("\n") == 1


def test_a_trial_that_has_not_finished_is_refused(call, exported: Callable) -> None:
    made = end(exported([9]), "stopped")
    said = call("probe", made.trial.id, *ATTENTIVE)
    assert said.code == 2 and said.err.count("\n") == 1
    assert "is stopped at step 24; a probe is added to trials that have finished" in said.err
    said = call("probe", made.submission.id, *ATTENTIVE)
    assert said.code == 2 and "none of its trials has finished yet" in said.err


def test_a_trial_without_an_export_is_refused(call, made) -> None:
    for step in (9, 24):
        made.trial.store.remove(made.trial.file(f"exports/step_{step:09d}/encoder.json"))
    said = call("probe", made.trial.id, *ATTENTIVE)
    assert said.code == 2 and "its exports were removed" in said.err


@pytest.mark.slow
def test_other_settings_than_there_is_a_result_of_are_refused(call, made) -> None:
    assert call("probe", made.trial.id, *ATTENTIVE).code == 0
    before = made.trial.probes()
    said = call("probe", made.trial.id, *ATTENTIVE, "--set", "probe.epochs=2", "--all-steps")
    assert said.code == 2 and said.err.count("\n") == 1
    assert "with other settings (epochs 1 there, 2 here)" in said.err
    assert made.trial.probes() == before


def test_a_submission_that_is_being_run_is_left_alone(call, made) -> None:
    held = lease.acquire(made.submission)
    said = call("probe", made.trial.id, *ATTENTIVE)
    assert said.code == 2 and "is being run by process" in said.err
    assert made.trial.probes() == []
    held.release()


def test_images_that_have_changed_are_refused(call, made) -> None:
    record = made.trial.record()
    trials = made.submission.trial_records()
    identity = record.identity | {"data.fingerprint": "0" * 64}
    changed = [trial.model_copy(update={"identity": identity}) for trial in trials]
    path = made.submission.file("trials.json")
    made.trial.store.write_record(path, TrialsRecord(trials=changed))
    said = call("probe", made.trial.id, *ATTENTIVE)
    assert said.code == 2 and "the images have changed since trial" in said.err
