"""`mimlab fork` and `extend`: what they start, and how they tell of lineage and drift."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from mimlab.actions.own_processes import OwnProcesses
from mimlab.storage.folders import SubmissionFolder, TrialFolder, submissions
from one_machine.ports import free_port

RESULTS = ("--storage", "results")


@pytest.fixture
def parent(submission, checkpointed, ended) -> Iterator[TrialFolder]:
    """A trial that stopped at step 20 of 24. What is started to go on from it does not get far."""
    trial = submission.trials()[0]
    checkpointed(trial, 10)
    checkpointed(trial, 20)
    yield trial
    processes = OwnProcesses(trial.store)
    for started in trial.store.list("launches"):
        processes.stop(started)
        ended(processes, started)


def newest(parent: TrialFolder) -> SubmissionFolder:
    return submissions(parent.store)[-1]


def refused(call, parent: TrialFolder, *words: str) -> str:
    """Why; nothing is written or started."""
    before = parent.store.list("submissions"), parent.store.list("trials")
    said = call(*words, *RESULTS)
    assert (said.code, said.out, said.noise) == (2, "", [])
    assert said.err.startswith("error: ")
    assert (parent.store.list("submissions"), parent.store.list("trials")) == before
    assert parent.store.list("launches") == []
    return said.words


def test_a_fork_says_what_it_takes_and_what_differs(call, parent) -> None:
    said = call("fork", parent.id, "--set", "masking.ratio=0.9", *RESULTS)
    assert (said.code, said.err) == (0, "")
    made = newest(parent)
    (child,) = made.trials()
    assert said.out.splitlines() == [
        f"submitted {made.id}",
        f"  {child.id} from {parent.id} at step 20: takes all of its state",
        "    masking.ratio 0.5 → 0.9",
        f"  mimlab status {made.id} --storage results",
    ]
    assert parent.store.list("launches") == [made.id]


def test_lineage_is_told_by_status(call, parent) -> None:
    call("fork", parent.id, "--set", "masking.ratio=0.9", "--step", "10", *RESULTS)
    made = newest(parent)
    assert f"(from {parent.id} @ 10)" in call("status", made.id, *RESULTS).words
    (told,) = json.loads(call("status", made.id, "--json", *RESULTS).out)["trials"]
    assert (told["parent"], told["parent_step"]) == (parent.id, 10)


def test_a_fork_of_another_objective_takes_the_encoder_alone(call, parent) -> None:
    said = call("fork", parent.id, "--set", "objective={name: simmim}", *RESULTS)
    assert said.code == 0
    assert "takes the encoder's weights alone, at step 0" in said.out
    assert "objective.name mae → simmim" in said.out


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ((), "nothing that changes its results is changed, so that it would be the same trial"),
        (("--set", "masking.ratioo=0.9"), "did you mean `ratio`"),
        (("--set", "masking.ratio"), "masking.ratio"),
        (("--set", "masking.ratio=0.9", "--step", "15"), "of that step; it has 10, 20"),
        (("--set", "data.image_size=32"), "the encoder would have other shapes"),
    ],
)
def test_what_cannot_be_forked_is_refused(call, parent, options, told: str) -> None:
    assert told in refused(call, parent, "fork", parent.id, *options)


def test_a_fork_begins_at_one_trial_that_has_a_checkpoint(call, parent, submission) -> None:
    change = ("--set", "masking.ratio=0.9")
    told = refused(call, parent, "fork", submission.id, *change)
    assert "is a submission, and a fork starts from one trial; name that" in told
    other = submission.trials()[1].id
    assert "has no checkpoint yet to start from" in refused(call, parent, "fork", other, *change)
    told = refused(call, parent, "fork", "0123456789ab", *change)
    assert "a trial of that name" in told and parent.id in told


def test_a_fork_whose_cluster_is_away_is_written_and_resumed_later(call, parent) -> None:
    address = f"http://127.0.0.1:{free_port()}"
    change = ("--set", "masking.ratio=0.9")
    said = call("fork", parent.id, *change, "--address", address, *RESULTS)
    assert (said.code, said.out, said.err.count("\n")) == (2, "", 1)
    assert said.err.startswith(f"error: {address}: no Ray dashboard answers there")
    assert f"`mimlab resume {newest(parent).id}` starts it later" in said.err
    assert parent.store.list("launches") == []


def test_an_extended_trial_goes_on_with_the_larger_budget(call, parent) -> None:
    said = call("extend", parent.id, "--budget", "steps=48", *RESULTS)
    assert (said.code, said.err) == (0, "")
    made = newest(parent)
    (record,) = made.trial_records()
    assert said.out.splitlines() == [
        f"submitted {made.id}",
        f"  {record.id} from {parent.id} at step 20: takes all of its state",
        "    train.budget.steps 24 → 48",
        f"  mimlab status {made.id} --storage results",
    ]
    assert record.resolved["train"]["budget"]["steps"] == 48
    assert parent.store.list("launches") == [made.id]


def test_every_trial_of_a_study_is_extended(call, parent, submission, checkpointed) -> None:
    checkpointed(submission.trials()[1], 24)
    said = call("extend", "tiny", "--budget", "steps=48", *RESULTS)
    assert said.code == 0
    children = newest(parent).trials()
    for child, trial, step in zip(children, submission.trials(), (20, 24), strict=True):
        assert f"  {child.id} from {trial.id} at step {step}: takes all of its state" in said.out
    assert said.out.count("train.budget.steps 24 → 48") == 2


@pytest.mark.parametrize(
    ("budget", "told"),
    [
        ("steps=22", "has a budget of 24 steps already, and steps=22 is 22; give it more"),
        ("steps=24", "nothing that changes its results is changed, so that it would be the same"),
        ("steps", "--budget steps: no `=`; e.g. epochs=200"),
        ("steps=many", "--budget steps=many: 'many' is no number; e.g. epochs=200"),
        ("steps=", "'' is no number"),
        ("weeks=2", "a budget is exactly one of"),
        ("steps=-5", "train.budget.steps"),
        ("steps=1.5", "train.budget.steps"),
        ("epochs=nan", "train.budget.epochs"),
        ("epochs=inf", "train.budget.epochs"),
    ],
)
def test_a_budget_that_extends_nothing_is_refused(call, parent, budget: str, told: str) -> None:
    assert told in refused(call, parent, "extend", parent.id, "--budget", budget)
