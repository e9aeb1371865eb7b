"""`resources.max_disk`: the trials of a submission take no more than they may, and lose nothing."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from mimlab.errors import UserError
from mimlab.retention.budget import DiskBudget
from mimlab.storage.forks import announce, begun
from mimlab.storage.records import OwnerRecord
from mimlab.train.checkpoint import read_checkpoint

STEPS = (7, 15, 24)
"""Of the tiny study's exports: every 0.6 epochs of 12.5 steps, and the last."""


def budget_of(run, limit_bytes: int, unprobed: tuple[int, ...] = ()) -> DiskBudget:
    return DiskBudget(
        run.submission,
        limit_bytes=limit_bytes,
        stopping=None,
        max_epochs=2.0,
        unprobed=lambda _: dict.fromkeys(unprobed),
    )


def taken(run) -> int:
    return sum(size.num_bytes for size in run.store.sizes(run.trial.path).values())


def enforce(run, budget: DiskBudget) -> int:
    return budget.enforce(run.submission.trial_records())


@pytest.fixture
def run(a_run: Callable):
    return a_run(*STEPS)


def test_a_running_trial_keeps_what_its_resume_needs(run) -> None:
    run.is_in("running")
    before, budget = taken(run), budget_of(run, 1)
    freed = enforce(run, budget)
    assert run.steps() == ([24], list(STEPS))
    assert read_checkpoint(run.trial, 24) is not None
    assert budget.note.startswith("disk: the trials take ") and "they go on" in budget.note
    log = [json.loads(line) for line in run.store.read(run.trial.file("log.jsonl")).splitlines()]
    removed = [line for line in log if line["event"] == "removed"]
    assert [(line["what"], line["step"]) for line in removed] == [
        ("checkpoints", 7),
        ("checkpoints", 15),
    ]
    assert sum(line["bytes"] for line in removed) == freed > 0.9 * (before - taken(run))


def test_only_as_much_goes_as_must(run) -> None:
    run.is_in("running")
    budget = budget_of(run, taken(run) - 1)
    assert enforce(run, budget) > 0
    assert run.steps()[0] == [15, 24] and budget.note == ""
    assert enforce(run, budget) == 0


def test_where_the_newest_checkpoint_is_corrupt_the_older_ones_stay(run) -> None:
    run.is_in("running")
    path = run.trial.file("checkpoints/step_000000024/state.pt")
    run.store.write(path, run.store.read(path)[:-1] + b"?")
    enforce(run, budget_of(run, 1))
    assert run.steps()[0] == [15, 24]
    assert read_checkpoint(run.trial, 15) is not None


def test_of_a_pruned_trial_the_encoders_stay(run) -> None:
    run.probed(*STEPS, top1=(0.1, 0.3, 0.2))
    run.is_in("pruned")
    enforce(run, budget_of(run, taken(run) // 4))
    assert run.steps()[0] == []
    assert {15, 24} <= set(run.steps()[1])  # the best and the last


def test_of_a_finished_trial_the_last_checkpoint_and_due_exports_stay(run) -> None:
    run.probed(*STEPS, top1=(0.1, 0.2, 0.3))
    run.is_in("finished")
    enforce(run, budget_of(run, 1, unprobed=(7,)))
    assert run.steps() == ([24], [7, 24])


def test_trials_that_another_submission_runs_are_left_alone(run) -> None:
    run.is_in("finished")
    run.store.write_record(run.trial.file("owner.json"), OwnerRecord(submission="another"))
    assert enforce(run, budget_of(run, 1)) == 0
    assert run.steps() == (list(STEPS), list(STEPS))


def test_it_is_no_part_of_a_trials_identity(a_run: Callable, tmp_path) -> None:
    folders = [tmp_path / name for name in ("a", "b")]
    for folder in folders:
        folder.mkdir()
    first = a_run(where=folders[0])
    second = a_run(where=folders[1], changes=["resources.max_disk=1.5 GB"])
    assert first.trial.id == second.trial.id
    assert second.planned().study.resources.max_disk == 1_500_000_000


@pytest.mark.parametrize(
    ("value", "told"),
    [("12 bananas", "could not interpret byte unit: bananas"), ("0", "greater than 0")],
)
def test_a_size_that_is_none_is_refused(a_run: Callable, value: str, told: str) -> None:
    with pytest.raises(UserError, match=told) as caught:
        a_run(changes=[f"resources.max_disk={value}"])
    assert "resources.max_disk" in str(caught.value)


def test_a_checkpoint_that_a_fork_waits_for_stays(run) -> None:
    """A fork belongs to another submission, which may wait for its turn for long."""
    run.is_in("running")
    announce(run.trial, "fork", 7)
    enforce(run, budget_of(run, 1))
    assert 7 in run.steps()[0]
    begun(run.trial, "fork")
    enforce(run, budget_of(run, 1))
    assert run.steps()[0] == [24]
