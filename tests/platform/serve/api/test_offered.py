"""Whatever a button offers is done, and what the actions would do is offered."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from mimlab.actions import resume as resuming
from mimlab.actions.extend import extend
from mimlab.actions.pause import pause_submission, pause_trial
from mimlab.actions.resume import resume_submission, resume_trial
from mimlab.actions.stop import stop_submission, stop_trial
from mimlab.errors import UserError
from mimlab.serve.identity.permissions import PERMISSIONS
from mimlab.serve.pages.parts.buttons import BUDGETS
from mimlab.serve.pages.parts.permitted import Verb, of_submission, of_trial
from mimlab.serve.queue.folder import Queue
from mimlab.serve.queue.queued import Queued
from mimlab.serve.reading import Reading
from mimlab.serve.routes.session import Identity
from mimlab.storage import lease
from mimlab.storage.asked import ask
from mimlab.storage.folders import SubmissionFolder

ROOT = Identity(
    name="root",
    role="operator",
    permissions={action: reaches["operator"] for action, reaches in PERMISSIONS.items()},
    local=False,
    csrf_token=None,
)
VERBS: tuple[Verb, ...] = ("stop", "pause", "resume", "retry failed", "extend")
STRICTER: frozenset[Verb] = frozenset({"pause", "retry failed", "extend"})
"""Not offered though it could be done: to pause or try again what has no need of it, and to extend
what has not finished."""
STATES = [
    "pending, pending",
    "running, pending",
    "probing, running paused",
    "stopped paused, pending paused",
    "stopped paused, finished",
    "preempted, failed",
    "failed, diverged",
    "failed paused, finished",
    "finished, finished",
    "pruned, finished without a checkpoint",
]


class Lab(NamedTuple):
    """A submission of two trials as it stands."""

    submission: SubmissionFolder
    launcher: Queued

    def do(self, verb: Verb, trial_id: str | None) -> None:
        """Raises UserError where it is refused."""
        store, name, launcher = self.submission.store, self.submission.id, self.launcher
        one = () if trial_id is None else (trial_id,)
        match verb:
            case "stop" if one:
                stop_trial(store, name, *one, "ada")
            case "stop":
                stop_submission(store, name, "ada", launcher)
            case "pause" if one:
                pause_trial(store, name, *one, "ada")
            case "pause":
                pause_submission(store, name, "ada", launcher)
            case "resume" | "retry failed":
                again = verb == "retry failed"
                act: Any = resume_trial if one else resume_submission
                act(store, name, *one, "ada", launcher=launcher, retry_failed=again)
            case _:
                extend(store, trial_id or name, {"steps": 48}, launcher=launcher, by="ada")


@pytest.fixture(scope="module")
def template(create_tiny: Callable, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two trials that nobody has begun."""
    folder = tmp_path_factory.mktemp("template")
    create_tiny(folder, "sweep={axes: {masking.ratio: [0.5, 0.75]}}", f"storage={folder / 'runs'}")
    return folder / "runs"


@pytest.fixture
def lab(
    template: Path,
    tmp_path: Path,
    storage_at: Any,
    new_cluster: Callable,
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[..., Lab]:
    """Puts it into a state, anew each time."""
    monkeypatch.setattr(resuming, "ANSWER_S", 0.0)
    numbers = itertools.count()

    def put(states: Sequence[str], *, driven: bool = False, queued: str = "") -> Lab:
        root = tmp_path / str(next(numbers))
        shutil.copytree(template, root)
        storage = storage_at(root)
        (name,) = storage.store.list("submissions")
        submission = SubmissionFolder(storage.store, name)
        for trial, said in zip(submission.trial_records(), states, strict=True):
            state, *more = said.split()
            storage.owner(trial, submission)
            storage.status(trial, state, 20, 24)
            if "without" not in more and state != "pending":
                storage.checkpoint(trial, 20)
            if "paused" in more:
                ask(submission, "pause", "ada", trial.id)
        launcher = Queued(Queue(storage.store), new_cluster(), "ada")
        if queued:
            launcher.start(name, ["supervise"], None)
        if queued == "started":
            launcher.launcher.start(name, ["supervise"], None)
            launcher.queue.change(1, state="started")
        if driven:
            lease.acquire(submission)
        return Lab(submission, launcher)

    return put


@pytest.mark.parametrize("queued", ["", "waiting", "started"])
@pytest.mark.parametrize("driven", [False, True], ids=["alone", "driven"])
@pytest.mark.parametrize("states", STATES)
def test_what_is_offered_is_done(lab: Callable, states: str, driven: bool, queued: str) -> None:
    def put() -> Lab:
        return lab(states.split(", "), driven=driven, queued=queued)

    shown = put()
    offered = Reading(shown.submission.store)
    (summary,) = offered.submissions()
    detail = offered.submission(summary.id)
    asked: list[tuple[Verb, str | None, str]] = []
    for verb in VERBS:
        asked.append((verb, None, of_submission(verb, ROOT, detail)))
        for trial in detail.trials:
            one = offered.trial(summary.id, trial.id)
            asked.append((verb, trial.id, of_trial(verb, ROOT, one, summary)))
    for verb, trial_id, why_not in asked:
        if not why_not:
            put().do(verb, trial_id)
        elif verb not in STRICTER:
            with pytest.raises(UserError):
                shown.do(verb, trial_id)


@pytest.mark.parametrize("kind", BUDGETS)
def test_every_budget_of_the_dialog_can_be_raised(lab: Callable, kind: str) -> None:
    submission, launcher = lab(["finished", "finished"])
    budget = {kind: 1e6 if kind == "visible_tokens" else 1e4}
    made = extend(submission.store, submission.id, budget, launcher=launcher, by="ada")
    assert launcher.queue.waiting(made) is not None
