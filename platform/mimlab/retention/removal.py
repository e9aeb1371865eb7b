"""Removing a checkpoint or an export: its commit first, so that what is left is never taken for
one."""

from __future__ import annotations

from mimlab.retention.rules import Kind, Turn, Verdict
from mimlab.retention.snapshot import COMMITTED_BY
from mimlab.storage.folders import TrialFolder, step_name
from mimlab.storage.forks import awaited_steps
from mimlab.train.checkpoint import read_committed
from mimlab.train.log import TrialLog


def remove_saved(trial: TrialFolder, kind: Kind, step: int) -> None:
    """Remove a checkpoint or an export; part of it may already be gone."""
    folder = trial.file(f"{kind}/{step_name(step)}")
    trial.store.remove(f"{folder}/{COMMITTED_BY[kind]}")
    trial.store.remove(folder)


def carry_out(trial: TrialFolder, verdict: Verdict) -> bool:
    """Remove what a verdict is on, and log it.

    False, and nothing is removed, where the newest checkpoint of a trial that goes on turns out to
    be corrupt: one of the older ones is then what a resume needs. Nor is a checkpoint where a fork
    has been made of the trial since.
    """
    step = verdict.saved.step
    if verdict.kind == "checkpoints" and awaited_steps(trial):
        return False
    if verdict.turn is Turn.OLD_OF_OPEN and not _newer_is_whole(trial, step):
        return False
    remove_saved(trial, verdict.kind, step)
    num_bytes = verdict.saved.num_bytes
    TrialLog(trial).write(
        "removed", {"what": verdict.kind, "step": step, "bytes": num_bytes, "why": verdict.why}
    )
    return True


def _newer_is_whole(trial: TrialFolder, step: int) -> bool:
    newer = [found for found in trial.steps("checkpoints") if found > step]
    return any(read_committed(trial, found) is not None for found in reversed(newer))
