"""A probe reads an export and leaves a record."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from mimlab.probe.due import reads_of, settings_of
from mimlab.probe.task import (
    baseline_file,
    baseline_records,
    missing_baselines,
    probe_baselines,
    probe_export,
)
from mimlab.spec.study import trial_spec
from mimlab.storage.records import ProbeRecord

PROBES = (
    "probes=[{name: knn, k: 5, every_epochs: 0.6},"
    " {name: linear, epochs: 3, max_fit: 200, at: end}]"
)


def run(made, step: int, *names: str) -> list[ProbeRecord]:
    probe_export(made.order.model_dump(mode="json"), made.trial.id, step, list(names))
    return made.trial.probes()


def test_each_probe_that_is_asked_leaves_one_record(exported: Callable) -> None:
    made = exported([24], PROBES)
    knn, linear = run(made, 24, "knn", "linear")
    assert (knn.probe, linear.probe) == ("knn", "linear")
    train, test = (made.data.split(name).num_rows for name in ("train", "test"))
    assert (knn.num_fit, knn.num_test) == (train, test)
    assert (linear.num_fit, linear.num_test) == (200, test)
    spec = trial_spec(made.order.spec)
    settings = [settings_of(probe, reads_of(spec)) for probe in spec.probes]
    assert [knn.settings, linear.settings] == settings
    for record in (knn, linear):
        assert (record.step, record.epoch, record.error) == (24, 2.4, "")
        assert record.encoder_hash == made.card.weights_sha256
        assert record.data_fingerprint == made.data.fingerprint
        assert record.protocol == f"{record.probe}/1"
        assert f"probe/{record.probe}/top1" in record.metrics
        assert 0.2 < record.metrics[f"probe/{record.probe}/top1"] <= 1  # chance is 0.1
        assert 0 < record.metrics[f"probe/{record.probe}/feature_std"] <= 1
        assert 1 <= record.metrics[f"probe/{record.probe}/effective_rank"] <= 64
        assert record.collapse == ""


def test_only_what_is_asked_is_run(exported: Callable) -> None:
    made = exported([9, 24], PROBES)
    (record,) = run(made, 9, "knn")
    assert (record.step, record.probe) == (9, "knn")


def test_the_same_export_gives_the_same_scores(exported: Callable) -> None:
    made = exported([24], PROBES)
    first = [record.metrics for record in run(made, 24, "knn", "linear")]
    made.trial.store.remove(made.trial.file("probes"))
    assert [record.metrics for record in run(made, 24, "knn", "linear")] == first


def test_what_a_task_that_died_has_answered_stays_as_it_is(exported: Callable) -> None:
    """Else the same point would be told MLflow again, at another time."""
    made = exported([24], PROBES)
    (knn,) = run(made, 24, "knn")
    again, linear = run(made, 24, "knn", "linear")
    assert again == knn and linear.probe == "linear"


def test_an_export_that_is_not_there_or_not_complete_is_refused(exported: Callable) -> None:
    made = exported([9, 24], PROBES)
    made.trial.store.remove(made.trial.file("exports/step_000000009/encoder.json"))
    for step in (9, 10):
        with pytest.raises(ValueError, match=f"no complete export of step {step}"):
            run(made, step, "knn")
    assert made.trial.probes() == []


def test_a_corrupt_export_is_refused(exported: Callable) -> None:
    made = exported([24], PROBES)
    path: Path = made.trial.store.scratch(
        made.trial.file("exports/step_000000024/encoder.safetensors")
    )
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(ValueError, match="export of step 24 is corrupt"):
        run(made, 24, "knn")
    assert made.trial.probes() == []


def test_baselines_are_the_untrained_encoder_and_raw_pixels(exported: Callable) -> None:
    made = exported([24], PROBES)
    store, submission = made.trial.store, made.submission
    probe_baselines(made.order.model_dump(mode="json"), submission.id)
    names = store.list(submission.file("baselines"))
    assert names == [
        f"{label}-{probe}.json"
        for label in ("random-init", "raw-pixels")
        for probe in ("knn", "linear")
    ]
    found = {
        name: store.read_record(submission.file(f"baselines/{name}"), ProbeRecord) for name in names
    }
    scores = {key: v for record in found.values() if record for key, v in record.metrics.items()}
    assert scores["baseline/raw-pixels/knn/top1"] > 0.95
    assert 0.2 < scores["baseline/random-init/knn/top1"] < 0.95
    # The export here is of weights that never trained: the same encoder, so the same score.
    knn = run(made, 24, "knn")[0]
    assert scores["baseline/random-init/knn/top1"] == knn.metrics["probe/knn/top1"]


def test_baselines_that_are_known_are_not_measured_again(exported: Callable) -> None:
    made = exported([24], PROBES)
    store, spec = made.trial.store, trial_spec(made.order.spec)
    probe_baselines(made.order.model_dump(mode="json"), made.submission.id)
    assert missing_baselines(made.submission, spec.probes, reads_of(spec)) == {}
    path = made.submission.file(baseline_file("raw-pixels", "knn"))
    old = store.read_record(path, ProbeRecord)
    store.write_record(path, old.model_copy(update={"settings": old.settings | {"k": 7}}))
    missing = missing_baselines(made.submission, spec.probes, reads_of(spec))
    assert {name: [p.label for p in probes] for name, probes in missing.items()} == {
        "raw-pixels": ["knn"]
    }
    (redone,) = baseline_records(made.order, made.submission)
    assert (redone.encoder_hash, redone.probe, redone.metrics) == ("raw-pixels", "knn", old.metrics)
