"""Probe results, exported encoders and boards."""

from __future__ import annotations

from mimlab.storage.folders import SubmissionFolder
from mimlab.track import tags

TOP1 = "probe/knn/top1"


def models(lab, trial, query: str = "") -> list:
    return list(lab.client.search_logged_models([lab.run(trial).info.experiment_id], query))


def test_a_probe_is_a_point_of_the_run_and_a_metric_of_the_model(lab) -> None:
    view, [trial] = lab.opened()
    lab.status(trial, "probing")
    for step, value in [(100, 0.4), (200, 0.7)]:
        lab.export(trial, step)
        lab.probe(trial.file("probes"), step, key=TOP1, value=value)
    view.sync()
    assert [(step, value) for step, _, value in lab.history(trial, TOP1)] == [
        (100, 0.4),
        (200, 0.7),
    ]
    [best] = models(lab, trial, f"metrics.`{TOP1}` > 0.6 AND params.`masking.name` = 'random'")
    assert best.name == f"{trial.id}-step200"
    assert best.tags["step"] == "200"
    assert best.tags["ckpt_uri"] == str(lab.store.place(trial.file("exports/step_000000200")))
    assert str(best.status) == "READY"
    assert best.source_run_id == lab.run(trial).info.run_id
    [metric] = best.metrics
    assert (metric.key, metric.value, metric.step) == (TOP1, 0.7, 200)
    assert (metric.dataset_name, metric.dataset_digest) == ("digits", "f" * 32)


def test_models_can_be_found_by_the_data_that_probed_them(lab) -> None:
    view, [trial] = lab.opened()
    lab.export(trial, 100)
    lab.probe(trial.file("probes"), 100, key=TOP1, value=0.4)
    view.close()
    experiment = lab.run(trial).info.experiment_id
    found = [
        lab.client.search_logged_models(
            [experiment],
            f"metrics.`{TOP1}` > 0.1",
            datasets=[{"dataset_name": "digits", "dataset_digest": digest}],
        )
        for digest in ("f" * 32, "0" * 32)
    ]
    assert [len(page) for page in found] == [1, 0]
    [dataset] = lab.run(trial).inputs.dataset_inputs
    assert dataset.dataset.name == "digits"


def test_another_driver_makes_no_second_model_point_or_board(lab) -> None:
    view, [trial] = lab.opened()
    lab.export(trial, 100)
    lab.probe(trial.file("probes"), 100, key=TOP1, value=0.4)
    lab.board(trial, 100)
    view.close()
    lab.board(trial, 200)
    view, _ = lab.opened()
    view.close()
    [model] = models(lab, trial)
    assert len(model.metrics) == 1
    outputs = lab.run(trial).outputs.model_outputs
    assert [(output.model_id, output.step) for output in outputs] == [(model.model_id, 100)]
    assert len(lab.history(trial, TOP1)) == 1
    assert len(lab.run(trial).inputs.dataset_inputs) == 1
    files = lab.client.list_artifacts(lab.run(trial).info.run_id, "images")
    steps = sorted(int(f.path.split("+")[2]) for f in files if f.path.endswith(".png"))
    assert steps == [100, 200]


def test_a_model_left_half_made_is_completed(lab) -> None:
    """The process died after the model was created and before anything else."""
    _, [trial] = lab.opened()
    run = lab.run(trial)
    half = lab.client.create_logged_model(
        run.info.experiment_id, name=f"{trial.id}-step100", source_run_id=run.info.run_id
    )
    lab.export(trial, 100)
    lab.probe(trial.file("probes"), 100, key=TOP1, value=0.4)
    lab.opened()
    [model] = models(lab, trial)
    assert (model.model_id, str(model.status)) == (half.model_id, "READY")
    assert [output.model_id for output in lab.run(trial).outputs.model_outputs] == [half.model_id]


def test_a_probe_of_an_encoder_that_retention_removed_still_counts(lab) -> None:
    view, [trial] = lab.opened()
    lab.probe(trial.file("probes"), 100, key=TOP1, value=0.4)
    view.close()
    assert models(lab, trial) == []
    assert len(lab.history(trial, TOP1)) == 1


def test_a_probe_that_failed_says_why_until_it_is_done_again(lab) -> None:
    view, [trial] = lab.opened()
    lab.status(trial, "probing")
    lab.probe(trial.file("probes"), 100, key=TOP1, value=0.0, error="out of memory")
    view.sync()
    assert lab.run(trial).data.tags[tags.PROBE_ERROR] == "knn at step 100: out of memory"
    assert TOP1 not in lab.run(trial).data.metrics
    lab.probe(trial.file("probes"), 100, key=TOP1, value=0.4)
    view.sync()
    assert lab.run(trial).data.tags[tags.PROBE_ERROR] == ""
    assert lab.run(trial).data.metrics[TOP1] == 0.4


def test_a_result_that_was_measured_anew_takes_the_place_of_the_one_before(lab) -> None:
    view, [trial] = lab.opened()
    probes = trial.file("probes")
    lab.probe(probes, 100, key=TOP1, value=0.4)
    lab.probe(probes, 200, key=TOP1, value=0.5)
    lab.status(trial, "finished")
    view.sync()
    assert lab.run(trial).data.metrics[TOP1] == 0.5
    lab.status(trial, "probing")
    lab.probe(probes, 200, key=TOP1, value=0.6, later_ms=1000)
    lab.probe(probes, 100, key=TOP1, value=0.0, error="out of memory")
    view.sync()
    lab.status(trial, "finished")
    view.sync()
    assert lab.run(trial).data.metrics[TOP1] == 0.6
    assert [value for _, _, value in lab.history(trial, TOP1)] == [0.4, 0.5, 0.6]
    assert lab.run(trial).data.tags[tags.PROBE_ERROR] == "knn at step 100: out of memory"
    view.close()
    assert [value for _, _, value in lab.history(trial, TOP1)] == [0.4, 0.5, 0.6]


def test_baselines_are_on_the_submission(lab) -> None:
    view, _ = lab.opened()
    folder = SubmissionFolder(lab.store, f"{lab.study}-first")
    lab.probe(folder.file("baselines"), 0, key="baseline/raw-pixels/knn/top1", value=0.3)
    view.sync()
    view.sync()
    assert lab.run(folder).data.metrics == {"baseline/raw-pixels/knn/top1": 0.3}


def test_collapsed_features_are_named_by_the_newest_result_of_the_probe(lab) -> None:
    view, [trial] = lab.opened()
    lab.status(trial, "probing")
    low = "feature_std 0.01 below 0.05"
    lab.probe(trial.file("probes"), 100, key=TOP1, value=0.4, collapse=low)
    view.sync()
    assert lab.run(trial).data.tags[tags.COLLAPSED] == f"knn at step 100: {low}"
    lab.probe(trial.file("probes"), 200, key=TOP1, value=0.4)
    view.close()
    assert lab.run(trial).data.tags[tags.COLLAPSED] == ""
