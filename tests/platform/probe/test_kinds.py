"""Each kind of probe on an export: what it reads, what it records, what it leaves alone."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import pytest

from mimlab.probe.config import metric_of, named_once
from mimlab.probe.due import reads_of, settings_of
from mimlab.probe.kinds.attentive import AttentiveProbe, parts
from mimlab.probe.kinds.finetune import FinetuneProbe
from mimlab.probe.kinds.low_shot import LowShotProbe
from mimlab.probe.task import probe_baselines, probe_export
from mimlab.spec.study import trial_spec
from mimlab.storage.records import ProbeRecord
from mimlab.track.metric_keys import METRIC_KEYS, is_known

PROBES = (
    "probes=["
    "{name: attentive, epochs: 2, at: end},"
    " {name: finetune, epochs: 8, warmup_epochs: 1, batch_size: 100, base_lr: 0.03, mixup: 0.0,"
    "  cutmix: 0.0, rand_augment: 3, max_fit: 600, at: end},"
    " {name: low_shot, fraction: 0.01, at: end},"
    " {name: low_shot, fraction: 0.1, seeds: 2, at: end}]"
)
LABELS = ["attentive", "finetune", "low_shot_10pct", "low_shot_1pct"]


def run(made, *labels: str) -> dict[str, ProbeRecord]:
    probe_export(made.order.model_dump(mode="json"), made.trial.id, 24, list(labels))
    return {record.probe: record for record in made.trial.probes()}


def test_each_kind_leaves_a_record_with_protocol_and_settings(exported: Callable) -> None:
    made = exported([24], PROBES)
    records = run(made, *LABELS)
    assert sorted(records) == LABELS
    spec = trial_spec(made.order.spec)
    for probe in spec.probes:
        record = records[probe.label]
        assert record.protocol == probe.protocol
        assert record.settings == settings_of(probe, reads_of(spec))
        assert 0.15 < record.metrics[metric_of(probe)] <= 1  # chance is 0.1
        assert all(is_known(key) for key in record.metrics)
        assert (record.step, record.error, record.collapse) == (24, "", "")
        assert record.encoder_hash == made.card.weights_sha256
    train, test = (made.data.split(name).num_rows for name in ("train", "test"))
    counts = {label: (record.num_fit, record.num_test) for label, record in records.items()}
    assert counts == {
        "attentive": (train, test),
        "finetune": (600, test),
        "low_shot_1pct": (10 * round(0.01 * train / 10), test),
        "low_shot_10pct": (10 * round(0.1 * train / 10), test),
    }
    more, fewer = (
        records[f"low_shot_{share}"].metrics[f"probe/low_shot_{share}/top1"]
        for share in ("10pct", "1pct")
    )
    assert more > fewer


@pytest.mark.slow
def test_long_ones_tell_their_progress_in_the_log(exported: Callable) -> None:
    made = exported([24], PROBES)
    run(made, "attentive", "finetune")
    lines = map(json.loads, made.trial.store.read(made.trial.file("log.jsonl")).splitlines())
    told = [line for line in lines if line["event"] == "probe progress"]
    for label in ("attentive", "finetune"):
        own = [line for line in told if line["probe"] == label]
        assert own[-1]["done"] == own[-1]["of"]
        assert all(line["step"] == 24 and line["loss"] > 0 for line in own)
    steps = [line["of"] for line in told if line["probe"] == "finetune"]
    assert set(steps) == {48}  # eight epochs of 600 images, 100 at a time


@pytest.mark.slow
def test_the_same_export_gives_the_same_scores(exported: Callable) -> None:
    made = exported([24], PROBES)
    first = {label: record.metrics for label, record in run(made, *LABELS).items()}
    assert {label: record.metrics for label, record in run(made, *LABELS).items()} == first


def test_a_record_is_written_as_soon_as_there_is_one(exported: Callable) -> None:
    """An attentive probe of one image fails; the probe of features beside it is kept."""
    made = exported(
        [24],
        "probes=[{name: attentive, max_fit: 1, at: end}, {name: low_shot, fraction: 0.1, at: end}]",
    )
    with pytest.raises(ValueError, match="at least two images"):
        run(made, "attentive", "low_shot_10pct")
    (kept,) = made.trial.probes()
    assert kept.probe == "low_shot_10pct"


@pytest.mark.slow
def test_baselines_are_those_that_a_kind_can_have(exported: Callable) -> None:
    made = exported([24], PROBES)
    probe_baselines(made.order.model_dump(mode="json"), made.submission.id)
    written = made.trial.store.list(made.submission.file("baselines"))
    assert written == [
        "random-init-attentive.json",
        "random-init-finetune.json",
        "random-init-low_shot_10pct.json",
        "random-init-low_shot_1pct.json",
        "raw-pixels-low_shot_10pct.json",
        "raw-pixels-low_shot_1pct.json",
    ]


def test_two_fractions_are_two_probes_and_one_twice_is_refused() -> None:
    one, ten = (LowShotProbe(name="low_shot", fraction=f, at="end") for f in (0.01, 0.1))
    assert named_once((one, ten)) == (one, ten)
    assert [metric_of(probe) for probe in (one, ten)] == [
        "probe/low_shot_1pct/top1",
        "probe/low_shot_10pct/top1",
    ]
    again = ten.model_copy(update={"seeds": 9})
    with pytest.raises(ValueError, match="low_shot_10pct is listed twice; both would write"):
        named_once((one, ten, again))


def test_every_kind_is_documented() -> None:
    for key in ("attentive", "finetune", "low_shot_<share>"):
        assert f"probe/{key}/top1" in METRIC_KEYS


def test_the_images_to_choose_by_are_a_tenth_and_no_others(exported: Callable) -> None:
    split = exported([24]).data.split("train")
    for max_fit, used in ((None, split.num_rows), (300, 300)):
        held_out, train = parts(split, max_fit)
        assert held_out.num_rows == round(0.1 * used)
        assert held_out.num_rows + train.num_rows == used
        both = [p.ids(np.arange(p.num_rows)) for p in (held_out, train)]
        assert not set(both[0]) & set(both[1])


def test_a_smoke_run_shortens_what_trains() -> None:
    long = FinetuneProbe(name="finetune", epochs=50, warmup_epochs=5, at="end")
    short = long.bounded(max_fit=1000, epochs=5)
    assert (short.max_fit, short.training_epochs) == (1000, 5)
    # It is still one that a study could have, so that it can be sent to another process.
    assert FinetuneProbe.model_validate_json(short.model_dump_json()).warmup_epochs == 0.5
    small = AttentiveProbe(name="attentive", epochs=2, max_fit=9, at="end")
    assert small.bounded(max_fit=1000, epochs=5) == small
