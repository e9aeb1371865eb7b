"""A trial as a submission's table shows it."""

from __future__ import annotations

import re
from collections.abc import Callable

from mimlab.compare.cells import NO_RATIO
from mimlab.compare.ratio_text import ratio_text
from mimlab.compare.rows import label_of
from mimlab.compare.trials import latest
from mimlab.serve.reading.checkpoints import has_checkpoint
from mimlab.serve.reading.files import CachedFiles
from mimlab.serve.reading.models import ShownState, TrialSummary
from mimlab.serve.reading.watching import Watch, is_lost
from mimlab.storage.records import DONE, ProbeRecord, StatusRecord, TrialRecord

_BOARD = re.compile(r"(\d+)\.png$")

NOTHING_YET = StatusRecord(state="pending")


def shown_state(
    trial_id: str, status: StatusRecord, driven: Callable[[], bool | None], watch: Watch
) -> ShownState:
    """What the record says, unless nobody lives up to it."""
    return "lost" if is_lost(trial_id, status, driven, watch) else status.state


def progress_of(status: StatusRecord) -> float:
    """0 to 1; a pruned trial needs no more."""
    if status.state in DONE:
        return 1.0
    return min(1.0, status.step / status.total_steps) if status.total_steps else 0.0


def probes_of(files: CachedFiles, trial_id: str) -> list[ProbeRecord]:
    """Its probe results, by step and name."""
    folder = f"trials/{trial_id}/probes"
    paths = [f"{folder}/{name}" for name in files.list(folder)]
    found = [record for record in files.records(paths, ProbeRecord) if record is not None]
    return sorted(found, key=lambda record: (record.step, record.probe))


def board_steps(files: CachedFiles, trial_id: str) -> list[int]:
    """Steps of which there is a board, ascending."""
    matches = (_BOARD.match(name) for name in files.list(f"trials/{trial_id}/boards"))
    return sorted(int(match.group(1)) for match in matches if match)


LISTED = ("probes", "boards", "checkpoints")
"""Folders of a trial that `summary_of` looks into."""


def summary_of(
    files: CachedFiles,
    record: TrialRecord,
    status: StatusRecord,
    state: ShownState,
    *,
    paused: bool,
) -> TrialSummary:
    """`record`: as the submission's study has it."""
    cell = label_of(record)
    masking = record.resolved["masking"]
    ratio = masking.get("ratio")
    return TrialSummary(
        id=record.id,
        label=f"{cell} · seed {record.seed}",
        point=record.point,
        seed=record.seed,
        cell=cell,
        masking=masking["name"],
        ratio=NO_RATIO if ratio is None else ratio_text(ratio),
        state=state,
        paused=paused,
        reason=status.reason,
        step=status.step,
        total_steps=status.total_steps,
        epoch=status.epoch,
        progress=progress_of(status),
        images_per_s=status.images_per_s if state == "running" else 0.0,
        scores=latest(probes_of(files, record.id)),
        board_steps=board_steps(files, record.id),
        has_checkpoint=has_checkpoint(files, record.id),
        parent=record.parent,
        updated=status.updated,
    )
