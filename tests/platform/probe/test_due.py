"""Which probes are due when."""

from __future__ import annotations

from mimlab.probe.config import KnnProbe, LinearProbe
from mimlab.probe.due import Reads, asked_for, due_steps, reads_of, settings_of, unanswered
from mimlab.probe.kinds.segmentation import SegmentationProbe
from mimlab.spec.checks import legal_trials
from mimlab.spec.load import load_study
from mimlab.spec.study import Splits
from mimlab.storage.records import ProbeRecord

KNN = KnnProbe(name="knn", every_epochs=10)
LINEAR = LinearProbe(name="linear", at="end")
READS = Reads(Splits(), {"segmentation": "a" * 64})


def names(due) -> dict[int, list[str]]:
    return {step: [probe.name for probe in probes] for step, probes in due.items()}


def test_every_ten_epochs_and_at_the_end() -> None:
    due = due_steps([KNN, LINEAR], num_images=1000, batch_size=100, total_steps=250)
    assert names(due) == {100: ["knn"], 200: ["knn"], 250: ["knn", "linear"]}


def test_a_probe_that_falls_on_the_end_is_due_once() -> None:
    due = due_steps([KNN], num_images=1000, batch_size=100, total_steps=200)
    assert names(due) == {100: ["knn"], 200: ["knn"]}


def test_no_probe_is_due_without_probes() -> None:
    assert due_steps([], num_images=10, batch_size=2, total_steps=5) == {}


def record(step: int, probe, **changes) -> ProbeRecord:
    return ProbeRecord(
        probe=probe.name,
        protocol="knn/1",
        settings=settings_of(probe, READS),
        step=step,
        epoch=1.0,
        metrics={"probe/knn/top1": 0.5},
        encoder_hash="",
        data_fingerprint="",
        num_fit=1,
        num_test=1,
        seconds=0.0,
        time_ms=0,
    ).model_copy(update=changes)


def test_a_study_hears_what_its_own_probes_said_good_or_failed(tiny_study: str, tmp_path) -> None:
    (tmp_path / "tiny.yaml").write_text(tiny_study)
    spec = legal_trials(load_study(tmp_path / "tiny.yaml"))[0].spec
    (probe,), reads = spec.probes, reads_of(spec)
    own = record(100, probe, settings=settings_of(probe, reads))
    failed = own.model_copy(update={"step": 200, "metrics": {}, "error": "out of memory"})
    other = record(300, probe, settings=settings_of(probe, reads) | {"k": 5})
    newer = own.model_copy(update={"protocol": "knn/2"})
    assert asked_for(spec, [own, failed, other, newer]) == [own, failed]


def test_a_record_answers_for_its_own_settings_only() -> None:
    due = {100: [KNN], 200: [KNN, LINEAR]}
    other = KNN.model_copy(update={"k": 5})
    assert names(unanswered(due, [record(100, KNN)], READS)) == {200: ["knn", "linear"]}
    assert names(unanswered(due, [record(100, other)], READS)) == {
        100: ["knn"],
        200: ["knn", "linear"],
    }


def test_when_a_probe_runs_is_not_one_of_its_settings() -> None:
    rarer = KNN.model_copy(update={"every_epochs": 20.0, "at": "end"})
    assert unanswered({100: [rarer]}, [record(100, KNN)], READS) == {}


def test_a_failed_probe_is_no_answer() -> None:
    failed = record(100, KNN, error="out of memory", metrics={})
    assert names(unanswered({100: [KNN]}, [failed], READS)) == {100: ["knn"]}


def test_other_splits_are_another_question() -> None:
    reads = Reads(Splits(probe_test="val"))
    assert names(unanswered({100: [KNN]}, [record(100, KNN)], reads)) == {100: ["knn"]}


def test_another_version_of_a_protocol_is_another_question() -> None:
    old = record(100, KNN, protocol="knn/0")
    assert names(unanswered({100: [KNN]}, [old], READS)) == {100: ["knn"]}


def test_other_label_maps_are_another_question_of_those_who_read_them() -> None:
    one, other = (Reads(Splits(), {"segmentation": name * 64}) for name in "ab")
    probe = SegmentationProbe(name="segmentation", at="end")
    found = record(100, probe, protocol=probe.protocol, settings=settings_of(probe, one))
    assert found.settings["label_maps"] == "a" * 64
    assert unanswered({100: [probe]}, [found], one) == {}
    assert names(unanswered({100: [probe]}, [found], other)) == {100: ["segmentation"]}
    assert settings_of(KNN, one) == settings_of(KNN, other)
