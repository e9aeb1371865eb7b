"""Probes run beside a trial: each result is reported once, and whatever dies kills nothing."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator

import psutil
import pytest

from mimlab.probe.due import due_steps
from mimlab.probe.scheduler import ProbeScheduler
from mimlab.spec.study import trial_spec
from mimlab.storage.records import ProbeRecord

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("ray_local")]

DEADLINE_S = 240


def scheduler_of(made) -> ProbeScheduler:
    probes = trial_spec(made.order.spec).probes
    num_images = made.data.split("train").num_rows
    due = due_steps(probes, num_images=num_images, batch_size=100, total_steps=24)
    return ProbeScheduler(made.trial, due, made.order, cpus=0.5)


def polls(scheduler: ProbeScheduler) -> Iterator[list[ProbeRecord]]:
    """What each poll gives, until no probe is running."""
    deadline = time.monotonic() + DEADLINE_S
    yield scheduler.poll()
    while scheduler.busy:
        assert time.monotonic() < deadline, "the probes did not end"
        time.sleep(0.1)
        yield scheduler.poll()


def ended(scheduler: ProbeScheduler) -> list[ProbeRecord]:
    return [record for records in polls(scheduler) for record in records]


def events(made, event: str) -> list[dict]:
    lines = made.trial.store.read(made.trial.file("log.jsonl")).splitlines()
    return [line for line in map(json.loads, lines) if line["event"] == event]


def test_each_result_is_reported_once(exported: Callable) -> None:
    made = exported([9, 24])
    scheduler = scheduler_of(made)
    records = ended(scheduler)
    assert sorted((r.step, r.probe, r.error) for r in records) == [(9, "knn", ""), (24, "knn", "")]
    assert all(0 <= r.metrics["probe/knn/top1"] <= 1 for r in records)
    assert scheduler.poll() == []
    assert not scheduler.busy


def test_a_scheduler_that_starts_again_reports_what_was_found_and_repeats_nothing(
    exported: Callable,
) -> None:
    made = exported([9, 24])
    before = ended(scheduler_of(made))
    again = scheduler_of(made)
    found = again.poll()
    assert not again.busy
    assert sorted(found, key=lambda r: r.step) == sorted(before, key=lambda r: r.step)
    assert again.poll() == []


def test_a_result_for_other_settings_is_replaced_not_reported(exported: Callable) -> None:
    made = exported([24])
    (first,) = ended(scheduler_of(made))
    other = first.model_copy(update={"settings": first.settings | {"k": 7}, "time_ms": 1})
    path = made.trial.file("probes/knn-000000024.json")
    made.trial.store.write_record(path, other)
    (second,) = ended(scheduler_of(made))
    assert second.settings == first.settings
    assert second.metrics == first.metrics


def test_an_export_that_is_not_complete_is_left_alone(exported: Callable) -> None:
    made = exported([9])
    made.trial.store.remove(made.trial.file("exports/step_000000009/encoder.json"))
    scheduler = scheduler_of(made)
    assert scheduler.poll() == []
    assert not scheduler.busy


def test_a_probe_that_fails_is_given_up_with_its_reason(exported: Callable) -> None:
    made = exported([9, 24])
    name = made.trial.file("exports/step_000000009/encoder.safetensors")
    made.trial.store.write(name, b"no weights")
    scheduler = scheduler_of(made)
    (result,) = ended(scheduler)
    bad, good = made.trial.probes()
    assert result == good
    assert (bad.step, bad.probe, bad.metrics) == (9, "knn", {})
    assert (
        bad.error == f"trial {made.trial.id}: export of step 9 is corrupt, and no "
        "checkpoint of that step is left to make it again"
    )
    assert (good.step, good.error) == (24, "")
    assert [line["step"] for line in events(made, "probe failed")] == [9]
    assert scheduler.poll() == []
    assert not scheduler.busy


def test_a_probe_that_failed_is_tried_again_by_the_next_scheduler(exported: Callable) -> None:
    made = exported([24])
    path = made.trial.store.scratch(made.trial.file("exports/step_000000024/encoder.safetensors"))
    weights = path.read_bytes()
    path.write_bytes(b"no weights")
    assert ended(scheduler_of(made)) == []
    path.write_bytes(weights)
    (record,) = ended(scheduler_of(made))
    assert record.error == ""
    assert made.trial.probes() == [record]


def kill_probes() -> None:
    """Kill the processes of probes, among those of this test's own Ray only."""
    for process in psutil.Process().children(recursive=True):
        try:
            if "ray::probe_export" in " ".join(process.cmdline()):
                process.kill()
        except psutil.NoSuchProcess:
            continue


def test_a_probe_whose_process_dies_again_and_again_is_given_up(exported: Callable) -> None:
    # A million epochs take hours: each run of the probe is killed long before.
    made = exported([24], "probes=[{name: linear, at: end, epochs: 1000000}]")
    scheduler = scheduler_of(made)
    for records in polls(scheduler):
        assert records == []
        kill_probes()
    (record,) = made.trial.probes()
    assert (record.step, record.probe, record.metrics) == (24, "linear", {})
    assert "died" in record.error or "crashed" in record.error
    assert not scheduler.busy


def test_a_long_probe_that_is_killed_once_starts_again(exported: Callable) -> None:
    made = exported(
        [24], "probes=[{name: finetune, at: end, epochs: 20, batch_size: 100, max_fit: 500}]"
    )
    scheduler = scheduler_of(made)
    killed = False
    for _ in polls(scheduler):
        log = made.trial.file("log.jsonl")
        if not killed and made.trial.store.exists(log) and events(made, "probe progress"):
            kill_probes()
            killed = True
    (record,) = made.trial.probes()
    assert killed and record.error == ""
    told = [line["done"] for line in events(made, "probe progress")]
    # From the beginning: what was told first is told twice.
    assert told.count(told[0]) == 2 and told[-1] == 100
