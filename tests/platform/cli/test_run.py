"""A study from its file to compared probes: a process of its own, real Ray, real MLflow."""

from __future__ import annotations

import json

import pytest

from mimlab.actions import audit

pytestmark = pytest.mark.slow


def test_a_run_ends_with_the_table_and_nothing_but_mimlab_speaks(reference) -> None:
    said = reference.said
    assert said.code == 0, said
    assert said.err == "" and said.noise == []
    for shown in ("knn", "linear", "random-initialised encoder", "raw pixels", "Best trial"):
        assert shown in said.words
    assert f"mlflow ui --backend-store-uri sqlite:///{reference.lab.store.root}/mlflow.db" in (
        said.words
    )
    assert reference.lab.states == ["finished", "finished"]


def test_compare_has_every_probe_and_the_baselines(reference) -> None:
    said = reference.lab.call("compare", "tiny", "--json")
    assert (said.code, said.err) == (0, "")
    found = json.loads(said.out)
    assert found["metrics"] == ["probe/knn/top1", "probe/linear/top1"]
    assert [row["ratio_realised"] for row in found["rows"]] == [0.5, 0.75]
    for row in found["rows"]:
        assert row["states"] == ["finished"]
    scores = [row["scores"] for row in found["rows"] + found["baselines"]]
    assert {row["label"] for row in found["baselines"]} == {"random-init", "raw-pixels"}
    assert all(0 < score <= 1 for of in scores for key in found["metrics"] for score in of[key])


def test_mlflow_has_one_experiment_one_parent_and_a_child_for_each_trial(reference) -> None:
    lab = reference.lab
    parent = lab.shown(lab.submission)
    assert parent.info.status == "FINISHED"
    experiment = lab.mlflow.get_experiment(parent.info.experiment_id)
    assert experiment.name == "tiny"
    runs = lab.mlflow.search_runs([experiment.experiment_id])
    children = [run for run in runs if run.info.run_id != parent.info.run_id]
    assert len(children) == 2
    for child in children:
        assert child.info.status == "FINISHED"
        assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert {child.data.params["masking.ratio"] for child in children} == {"0.5", "0.75"}
    assert "baseline/raw-pixels/knn/top1" in parent.data.metrics


def test_mlflow_has_each_point_once(reference) -> None:
    for trial in reference.lab.trials:
        reference.lab.assert_shown_once(trial)


def test_mlflow_has_boards_and_encoders_with_their_probes(reference) -> None:
    lab = reference.lab
    exports = lab.trials[0].steps("exports")
    assert exports == [360, 600]
    for trial in lab.trials:
        run = lab.shown(trial)
        pictures = lab.mlflow.list_artifacts(run.info.run_id, "images")
        assert len([p for p in pictures if "board" in p.path and p.path.endswith(".png")]) == 2
        models = lab.mlflow.search_logged_models(
            [run.info.experiment_id], f"source_run_id = '{run.info.run_id}'"
        )
        assert {int(model.tags["step"]) for model in models} == set(exports)
        for model in models:
            keys = {metric.key for metric in model.metrics or []}
            assert "probe/knn/top1" in keys
            assert ("probe/linear/top1" in keys) == (model.tags["step"] == "600")


@pytest.mark.parametrize("command", ["resume", "supervise"])
def test_a_finished_study_is_reused_not_repeated(reference, command: str) -> None:
    """The next launch is another submission of the same trials, and takes no cluster."""
    lab = reference.lab
    first, before = lab.submission.id, [trial.status() for trial in lab.trials]
    written = len(audit.read(lab.store))
    said = lab.call(command, first)
    assert (said.code, said.err) == (0, "")
    assert "Best trial" in said.words
    assert [(line.what, line.on) for line in audit.read(lab.store)[written:]] == [("resume", first)]
    assert [trial.status() for trial in lab.trials] == before
