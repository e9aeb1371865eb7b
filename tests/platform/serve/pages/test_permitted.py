"""Which buttons may be pressed, and what the others say."""

from __future__ import annotations

import pytest

from mimlab.serve.identity.permissions import PERMISSIONS, Action, Reach, Role
from mimlab.serve.pages.parts.permitted import VERBS, of_submission, of_trial, why_not
from mimlab.serve.reading import Reading
from mimlab.serve.routes.session import Identity
from mimlab.storage.asked import ask


def identity(name: str, role: Role) -> Identity:
    permissions: dict[Action, Reach] = {
        action: reaches[role] for action, reaches in PERMISSIONS.items()
    }
    return Identity(name=name, role=role, permissions=permissions, local=False, csrf_token=None)


ADA = identity("ada", "submitter")
"""Who submitted what `storage` holds."""


@pytest.mark.parametrize("verb", VERBS)
def test_roles(verb) -> None:
    assert why_not(verb, identity("bo", "viewer"), "bo")
    assert why_not(verb, identity("bo", "submitter"), "bo") == ""
    assert "ada submitted it" in why_not(verb, identity("bo", "submitter"), "ada")
    assert why_not(verb, identity("bo", "operator"), "ada") == ""


@pytest.mark.parametrize(
    ("states", "allowed"),
    [
        (["finished", "finished"], {"extend"}),
        (["finished", "stopped"], {"resume", "extend"}),
        (["pending", "preempted"], {"resume"}),
        (["failed", "diverged"], {"retry failed"}),
        (["running", "finished"], {"resume", "extend"}),
    ],
)
def test_what_nobody_drives(storage, states, allowed: set[str]) -> None:
    trials = [storage.trial(seed=seed) for seed in range(2)]
    submission = storage.submission(trials=trials)
    for trial, state in zip(trials, states, strict=True):
        storage.status(trial, state)
        storage.checkpoint(trial, 10)
    detail = Reading(storage.store).submission(submission.id)
    found = {verb for verb in VERBS if not of_submission(verb, ADA, detail)}
    assert found == allowed


def test_what_is_driven_is_stopped_and_paused_and_not_resumed(storage) -> None:
    trials = [storage.trial(seed=seed) for seed in range(2)]
    submission = storage.submission(trials=trials)
    storage.lease(submission)
    storage.status(trials[0], "running", 10)
    detail = Reading(storage.store).submission(submission.id)
    found = {verb for verb in VERBS if not of_submission(verb, ADA, detail)}
    assert found == {"stop", "pause"}


@pytest.mark.parametrize(("state", "allowed"), [("running", True), ("finished", False)])
def test_only_a_trial_that_goes_on_is_stopped_or_paused(storage, state, allowed: bool) -> None:
    trials = [storage.trial(seed=seed) for seed in range(2)]
    submission = storage.submission(trials=trials)
    storage.lease(submission)
    for trial, its_state in zip(trials, (state, "running"), strict=True):
        storage.status(trial, its_state, 10)
    reading = Reading(storage.store)
    summary = reading.submission(submission.id).summary
    detail = reading.trial(submission.id, trials[0].id)
    for verb in ("stop", "pause"):
        assert of_trial(verb, ADA, detail, summary) == ("" if allowed else f"it is {state}")


def test_a_fork_begins_at_a_checkpoint(storage) -> None:
    trial = storage.trial()
    submission = storage.submission(trials=[trial])
    storage.status(trial, "stopped", 10)
    reading = Reading(storage.store)
    summary = reading.submission(submission.id).summary
    detail = reading.trial(submission.id, trial.id)
    assert "no checkpoint" in of_trial("fork", ADA, detail, summary)
    storage.checkpoint(trial, 10)
    detail = reading.trial(submission.id, trial.id)
    assert of_trial("fork", ADA, detail, summary) == ""
    assert of_trial("resume", ADA, detail, summary) == ""
    assert of_trial("extend", ADA, detail, summary) == "it has not finished"


def test_what_is_lost_while_its_driver_lives_is_stopped_or_resumed_by_itself(storage) -> None:
    trials = [storage.trial(seed=seed) for seed in range(2)]
    submission = storage.submission(trials=trials)
    storage.lease(submission)
    for trial in trials:
        storage.status(trial, "running", 10)
    reading = Reading(storage.store)
    whole = reading.submission(submission.id)
    detail = reading.trial(submission.id, trials[0].id)
    lost = detail.model_copy(
        update={"summary": detail.summary.model_copy(update={"state": "lost"})}
    )
    for verb in ("stop", "pause", "resume"):
        assert of_trial(verb, ADA, lost, whole.summary) == ""
    whole = whole.model_copy(update={"trials": [whole.trials[1], lost.summary]})
    assert "on its own page" in of_submission("resume", ADA, whole)
    assert of_submission("stop", ADA, whole) == ""


def test_a_search_that_is_not_complete_is_resumed(storage) -> None:
    """Though every trial that it has made so far is finished."""
    sweep = {"search": {"name": "optuna", "num_trials": 3}, "seeds": [0]}
    trials = [storage.trial(seed=seed) for seed in range(2)]
    submission = storage.submission(trials=trials, sweep=sweep)
    for trial in trials:
        storage.status(trial, "finished")
    detail = Reading(storage.store).submission(submission.id)
    assert detail.summary.health == ["nobody runs it: resume it to go on"]
    assert of_submission("resume", ADA, detail) == ""


def test_what_is_left_paused_is_resumed_by_itself(storage) -> None:
    trials = [storage.trial(seed=seed) for seed in range(2)]
    submission = storage.submission(trials=trials)
    for trial, state in zip(trials, ("stopped", "finished"), strict=True):
        storage.status(trial, state)
    ask(submission, "pause", "ada", trials[0].id)
    reading = Reading(storage.store)
    detail = reading.submission(submission.id)
    paused = "what is left of it is paused"
    assert detail.summary.health == [f"nobody runs it: {paused}; resume that trial by trial"]
    assert paused in of_submission("resume", ADA, detail)
    one = reading.trial(submission.id, trials[0].id)
    assert of_trial("resume", ADA, one, detail.summary) == ""
