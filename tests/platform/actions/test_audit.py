"""The audit log keeps every action, in order, and never changes one."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mimlab.actions import audit, resume
from mimlab.actions.extend import extend
from mimlab.actions.fork import fork
from mimlab.actions.pause import pause_submission, pause_trial
from mimlab.actions.resume import resume_submission, resume_trial
from mimlab.actions.stop import stop_submission, stop_trial
from mimlab.actions.submit import submit
from mimlab.storage.folders import SubmissionFolder, TrialFolder
from mimlab.storage.store import Store


def test_actions_come_back_in_order(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for number in range(5):
        audit.record(store, "ada", "stop", f"s{number}", {"number": number})
    assert [line.on for line in audit.read(store)] == [f"s{n}" for n in range(5)]
    assert [line.details["number"] for line in audit.read(store, last=2)] == [3, 4]
    assert audit.read(store, last=0) == []


def test_many_writers_lose_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: audit.record(store, "ada", "stop", str(n)), range(100)))
    assert {line.on for line in audit.read(store)} == {str(n) for n in range(100)}


def test_an_unreadable_line_hides_no_other(tmp_path: Path) -> None:
    store = Store(tmp_path)
    audit.record(store, "ada", "stop", "first")
    store.write(f"{audit.FOLDER}/00000000000000000000-later.json", b'{"version": 9}')
    assert [line.on for line in audit.read(store)] == ["first"]


def test_an_empty_storage_has_no_log(tmp_path: Path) -> None:
    assert audit.read(Store(tmp_path / "none")) == []


@dataclass(frozen=True)
class Scene:
    """A submission that is worked on, its first trial, and what would start drivers."""

    submission: SubmissionFolder
    launcher: Any

    @property
    def store(self) -> Store:
        return self.submission.store

    @property
    def trial(self) -> TrialFolder:
        return self.submission.trials()[0]

    @property
    def ids(self) -> tuple[str, str]:
        return self.submission.id, self.trial.id

    def audited(self) -> tuple[str, str, str]:
        """Who, what and on what, of the only action that there was."""
        (line,) = audit.read(self.store)
        on = {self.submission.id: "the submission", self.trial.id: "the trial"}
        return line.who, line.what, on.get(line.on, line.on)


@pytest.fixture
def scene(submission, recorder, checkpointed, stands, monkeypatch) -> Scene:
    """Both trials have a checkpoint; the first one waits, the other one has failed."""
    monkeypatch.setattr(resume, "ANSWER_S", 0.1)
    first, other = submission.trials()
    for trial in (first, other):
        checkpointed(trial, 20)
    stands(first, "pending", step=20, total_steps=24)
    stands(other, "failed", step=20, total_steps=24, reason="the loss is not finite")
    return Scene(submission, recorder)


Act = Callable[[Scene], object]
LARGER = {"steps": 48.0}

DRIVEN: dict[str, tuple[Act, str, str]] = {
    "stop": (lambda s: stop_submission(s.store, s.ids[0], "ada"), "stop", "the submission"),
    "stop a trial": (lambda s: stop_trial(s.store, *s.ids, "ada"), "stop", "the trial"),
    "pause": (lambda s: pause_submission(s.store, s.ids[0], "ada"), "pause", "the submission"),
    "pause a trial": (lambda s: pause_trial(s.store, *s.ids, "ada"), "pause", "the trial"),
    "resume a lost trial": (
        lambda s: resume_trial(s.store, *s.ids, "ada", launcher=None, lost=True),
        "resume",
        "the trial",
    ),
}
"""While a driver runs."""
ALONE: dict[str, tuple[Act, str, str]] = {
    "pause a trial": (lambda s: pause_trial(s.store, *s.ids, "ada"), "pause", "the trial"),
    "resume": (
        lambda s: resume_submission(s.store, s.ids[0], "ada", launcher=s.launcher),
        "resume",
        "the submission",
    ),
    "resume a trial": (
        lambda s: resume_trial(s.store, *s.ids, "ada", launcher=s.launcher),
        "resume",
        "the trial",
    ),
    "fork": (
        lambda s: fork(s.store, s.ids[1], ["masking.ratio=0.9"], launcher=s.launcher, by="ada"),
        "fork",
        "the trial",
    ),
    "extend": (
        lambda s: extend(s.store, s.ids[0], LARGER, launcher=s.launcher, by="ada"),
        "extend",
        "the submission",
    ),
    "extend by the study's name": (
        lambda s: extend(s.store, "tiny", LARGER, launcher=s.launcher, by="ada"),
        "extend",
        "the submission",
    ),
    "extend a trial": (
        lambda s: extend(s.store, s.ids[1], LARGER, launcher=s.launcher, by="ada"),
        "extend",
        "the trial",
    ),
}
"""Where no driver runs."""


@pytest.mark.parametrize("action", DRIVEN)
def test_what_is_done_to_a_driver_says_who_and_what(scene, driven, action: str) -> None:
    act, what, on = DRIVEN[action]
    with driven(scene.submission):
        act(scene)
    assert scene.audited() == ("ada", what, on)


@pytest.mark.parametrize("action", ALONE)
def test_what_is_done_without_a_driver_says_who_and_what(scene, action: str) -> None:
    act, what, on = ALONE[action]
    act(scene)
    assert scene.audited() == ("ada", what, on)


def test_failed_trials_that_are_tried_again_say_so(scene) -> None:
    store, launcher = scene.store, scene.launcher
    resume_submission(store, scene.submission.id, "ada", launcher=launcher, retry_failed=True)
    assert scene.audited() == ("ada", "resume", "the submission")
    failed = scene.submission.trials()[1].id
    resume_trial(store, scene.submission.id, failed, "bob", launcher=launcher, retry_failed=True)
    whole, one = audit.read(store)
    assert (one.who, one.what, one.on) == ("bob", "resume", failed)
    assert whole.details["retry_failed"] and one.details["retry_failed"]


def test_a_study_that_is_sent_says_who_sent_it(tiny_study, recorder, tmp_path: Path) -> None:
    store = Store(tmp_path / "runs")
    found = submit(
        tiny_study, store=store, launcher=recorder, user="ada", preset=None, overrides=[]
    )
    (line,) = audit.read(store)
    assert (line.who, line.what, line.on) == ("ada", "submit", found)


def test_a_job_that_is_stopped_before_it_begins_says_who_stopped_it(scene) -> None:
    scene.launcher.states["later"] = "pending"
    stop_submission(scene.store, "later", "ada", scene.launcher)
    assert scene.audited() == ("ada", "stop", "later")
