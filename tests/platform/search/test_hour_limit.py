"""Device hours are counted from the folders, over all resumes, and end a submission."""

from __future__ import annotations

import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from mimlab.errors import UserError
from mimlab.search.hour_limit import HourLimit, devices_of
from mimlab.search.submission import go_on_with, plan_study, reopen, unfinished
from mimlab.spec.load import load_study
from mimlab.spec.study import Resources
from mimlab.storage import lease
from mimlab.storage.folders import TrialFolder
from mimlab.storage.journal import Journal
from mimlab.storage.records import ProbeRecord, StatusRecord, TrialsRecord

TWO_WORKERS = "resources={workers: 2, cpus_per_worker: 0.75, max_cpu_hours: 0.25}"


def train(
    made, *, steps: list[int], images_per_s: float = 10.0, workers: float | None = None
) -> None:
    """Points of the curve, 100 images a step."""
    journal = Journal(made.trial)
    for step in steps:
        metrics = {"train/images": 100.0 * step, "train/images_per_s": images_per_s}
        if workers is not None:
            metrics["train/workers"] = workers
        journal.append(step, metrics)
        journal.flush()


def probe(made, *, step: int, seconds: float) -> None:
    record = ProbeRecord(
        probe="knn",
        protocol="knn/1",
        settings={},
        step=step,
        epoch=1.0,
        metrics={},
        encoder_hash="",
        data_fingerprint="",
        num_fit=1,
        num_test=1,
        seconds=seconds,
        time_ms=0,
    )
    made.trial.store.write_record(made.trial.file(f"probes/knn-{step:09d}.json"), record)


@pytest.fixture
def made(tmp_path: Path, create_tiny):
    """A submission whose trial holds a core and a half and may spend a quarter of a CPU-hour."""
    made = create_tiny(tmp_path, TWO_WORKERS)
    lease.claim(made.trial, made.submission)
    made.trial.write_status(StatusRecord(state="running", total_steps=24))
    return made


def resources(made) -> Resources:
    return reopen(made.submission).study.resources


def test_hours_are_training_time_and_the_last_probes_on_all_devices(made) -> None:
    limit = HourLimit(made.submission, resources(made))
    assert limit.spent() == 0.0
    train(made, steps=[5, 10])  # 10 s a step
    assert limit.spent() == pytest.approx(100 * 1.5 / 3600)
    probe(made, step=12, seconds=1000.0)  # beside the training
    probe(made, step=24, seconds=20.0)
    assert limit.spent() == pytest.approx(120 * 1.5 / 3600)


def test_hours_are_those_of_the_workers_that_there_were(tmp_path: Path, create_tiny) -> None:
    varying = "resources={workers: {min: 1, max: 2}, cpus_per_worker: 0.5}"
    made = create_tiny(tmp_path, varying)
    lease.claim(made.trial, made.submission)
    made.trial.write_status(StatusRecord(state="running", total_steps=24))
    limit = HourLimit(made.submission, resources(made))
    train(made, steps=[10], workers=1.0)  # 10 s a step
    assert limit.spent() == pytest.approx(100 * 0.5 / 3600)
    train(made, steps=[20], workers=2.0)
    assert limit.spent() == pytest.approx((100 + 100 * 2) * 0.5 / 3600)
    probe(made, step=24, seconds=20.0)  # the workers wait for it
    assert limit.spent() == pytest.approx((100 + 120 * 2) * 0.5 / 3600)


def test_a_trial_that_a_search_adds_later_counts_too(made) -> None:
    limit = HourLimit(made.submission, resources(made))
    assert limit.spent() == 0.0
    known = made.submission.trial_records()
    added = known[0].model_copy(update={"id": "added-later"})
    trials = TrialsRecord(trials=[*known, added])
    made.submission.store.write_record(made.submission.file("trials.json"), trials)
    later = SimpleNamespace(trial=TrialFolder(made.submission.store, added.id))
    made.submission.store.write_record(later.trial.file("trial.json"), added)
    lease.claim(later.trial, made.submission)
    train(later, steps=[5, 10])
    assert limit.spent() == pytest.approx(100 * 1.5 / 3600)


def test_a_resume_adds_to_what_was_spent_and_counts_nothing_twice(made) -> None:
    first = HourLimit(made.submission, resources(made))
    train(made, steps=[5, 10])
    assert first.spent() == first.spent() == pytest.approx(100 * 1.5 / 3600)
    train(made, steps=[10, 20])  # step 10 is computed again, from a checkpoint before it
    again = HourLimit(made.submission, resources(made))
    assert again.spent() == first.spent() == pytest.approx(200 * 1.5 / 3600)


def test_what_another_submission_ran_is_not_counted(made, create_tiny) -> None:
    train(made, steps=[10])
    other = create_tiny(made.trial.store.root.parent, TWO_WORKERS)
    assert HourLimit(other.submission, resources(other)).spent() == 0.0


def test_a_spent_submission_is_refused_with_the_command_that_goes_on(made) -> None:
    limit = HourLimit(made.submission, resources(made))
    limit.refuse_spent()
    train(made, steps=[100])
    with pytest.raises(UserError) as caught:
        limit.refuse_spent()
    message = str(caught.value)
    assert "0.417 of 0.25 CPU-hours (resources.max_cpu_hours) are spent" in message
    assert "raise resources.max_cpu_hours and go on with:  mimlab run" in message
    assert message.endswith("--set resources.max_cpu_hours=0.83")


def test_the_command_sets_the_limit_once(tmp_path: Path, create_tiny) -> None:
    made = create_tiny(tmp_path, "train.log_every=2", "resources.max_cpu_hours=0.5")
    command = HourLimit(made.submission, resources(made)).remedy()
    assert "--set train.log_every=2 --set resources.max_cpu_hours=1" in command
    assert command.count("max_cpu_hours=") == 1


def test_the_watch_speaks_once_and_only_when_the_limit_is_reached(made, monkeypatch) -> None:
    monkeypatch.setattr("mimlab.search.hour_limit.POLL_S", 0.01)
    said: list[str] = []
    reached = threading.Event()

    def on_reached(reason: str) -> None:
        said.append(reason)
        reached.set()

    with HourLimit(made.submission, resources(made)).watched(on_reached):
        assert not reached.wait(0.1)
        train(made, steps=[100])
        assert reached.wait(10)
    assert said == ["0.417 of 0.25 CPU-hours (resources.max_cpu_hours) are spent"]


def test_without_a_limit_nothing_is_refused(tmp_path: Path, create_tiny) -> None:
    made = create_tiny(tmp_path)
    lease.claim(made.trial, made.submission)
    train(made, steps=[10_000])
    limit = HourLimit(made.submission, resources(made))
    limit.refuse_spent()
    with limit.watched(lambda reason: pytest.fail(reason)):
        pass


def test_a_raised_limit_goes_on_with_the_same_submission(made) -> None:
    """So do other resources: none of them changes a result."""
    file = made.trial.store.root.parent / "tiny.yaml"
    raised = "resources={workers: 2, cpus_per_worker: 0.5, max_cpu_hours: 7}"
    planned = plan_study(load_study(file, None, [raised]))
    found = unfinished(made.trial.store, planned)
    assert found is not None and found.id == made.submission.id
    assert [trial.id for trial in planned.trials] == [made.trial.id]
    go_on_with(found, planned.study, ["--set", raised])
    assert resources(made).max_cpu_hours == 7
    assert found.record().options == ["--set", raised]
    go_on_with(found, planned.study, None)
    assert found.record().options == ["--set", raised]


def test_gpus_are_counted_where_a_trial_has_some() -> None:
    found = devices_of(Resources(workers=4, gpus_per_worker=0.5, max_gpu_hours=8))
    assert (found.unit, found.count, found.limit_hours) == ("GPU-hours", 2.0, 8)
    assert found.field == "resources.max_gpu_hours"
