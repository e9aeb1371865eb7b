"""Extend: a larger budget for a trial, or for every trial of a submission.

A cosine ends where the budget does, so that a trial of a larger one is another trial from its first
step on (`mimlab.spec.identity`): each goes on as a fork from its newest checkpoint.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mimlab.actions import audit
from mimlab.actions.fork import start_forks, write_forks
from mimlab.actions.forking import Fork, forked
from mimlab.actions.launch import Launcher
from mimlab.actions.named import Target, target_of
from mimlab.errors import UserError
from mimlab.search.submission import StudyFile
from mimlab.spec.study import Study, study_model
from mimlab.spec.sweep import OptunaSearch, SweepConfig
from mimlab.storage.folders import TrialFolder
from mimlab.storage.store import Store
from mimlab.train.config import Budget


def extend(
    store: Store, name: str, budget: Mapping[str, float], *, launcher: Launcher, by: str
) -> str:
    """Give a trial, or all of a submission, a new budget; the id of the submission that goes on.

    Args:
        store: the storage.
        name: id of a trial or a submission, or a study's name for its latest one.
        budget: one kind and how much of it, e.g. `{"epochs": 200}`, from the trial's first step on.
        launcher: what runs it.
        by: whose it is.

    Raises UserError before anything is written, where the budget is not larger, or a trial has no
    checkpoint.
    """
    target, change = target_of(store, name), _change(budget)
    parents = target.submission.trials() if target.trial is None else [target.trial]
    forks = [_extended(target, parent, change) for parent in parents]
    study, file = _study(target, forks, change)
    submission = write_forks(store, study, file, forks, by=by)
    details = {"submission": submission.id, "budget": dict(budget)}
    on = target.submission.id if target.trial is None else target.trial.id
    audit.record(store, by, "extend", on, details)
    start_forks(submission, launcher, by)
    return submission.id


def _change(budget: Mapping[str, float]) -> str:
    """As `--set` takes it."""
    kinds = list(Budget.model_fields)
    if len(budget) != 1 or not set(budget) <= set(kinds):
        given = ", ".join(budget) or "nothing"
        raise UserError(f"a budget is exactly one of {', '.join(kinds)}; found {given}")
    ((kind, amount),) = budget.items()
    number = int(amount) if float(amount).is_integer() else amount
    return f"train.budget.{kind}={number}"


def _extended(target: Target, parent: TrialFolder, change: str) -> Fork:
    made = forked(target.submission, parent, [change], None)
    had = parent.status().total_steps
    if made.total_steps <= had:
        raise UserError(
            f"trial {parent.id} has a budget of {had:,} steps already, and "
            f"{change.removeprefix('train.budget.')} is {made.total_steps:,}; give it more"
        )
    return made


@dataclass(frozen=True)
class _File:
    """The study that is extended, and how."""

    path: Path
    text: str
    options: list[str]


def _study(target: Target, forks: list[Fork], change: str) -> tuple[Study, StudyFile]:
    """Of one trial its own; of a submission the same study with the new budget."""
    if target.trial is not None:
        return forks[0].loaded.study, forks[0].loaded
    submission, record = target.submission, target.submission.record()
    store = submission.store
    study = study_model().model_validate_json(store.read(submission.file("resolved.json")))
    train = study.train.model_copy(update={"budget": forks[0].loaded.study.train.budget})
    file = _File(
        path=Path(record.study_file),
        text=store.read(submission.file("study.yaml")).decode(),
        options=[*record.options, "--set", change],
    )
    update = {"train": train, "storage": str(store.root)}
    if isinstance(study.sweep.search, OptunaSearch):
        # What the search had chosen by then; the extension looks for no other points.
        update["sweep"] = SweepConfig(seeds=study.sweep.seeds, stopping=study.sweep.stopping)
    return study.model_copy(update=update), file
