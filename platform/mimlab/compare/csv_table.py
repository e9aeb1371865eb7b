"""One line for each trial, with every digit: for spreadsheets, pandas and R."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from mimlab.compare.budgets import compared_at
from mimlab.compare.cells import REALISED, axes_of
from mimlab.compare.ratio_text import ratio_text
from mimlab.compare.rows import SPEED, median_of
from mimlab.compare.trials import TrialResult

Value = str | int | float | bool | None
LOSS = "train/loss"


def csv_of(trials: Sequence[TrialResult]) -> str:
    """RFC 4180 with a header.

    Numbers are written so that reading them gives the same float64; what a trial has not, is empty.
    The columns are described in docs/results.md.
    """
    metrics = sorted({key for trial in trials for key in _last_metrics(trial)})
    axes = axes_of(trials)
    equal = compared_at(trials)
    lines = [_line(trial, axes, metrics) | {"compared_at": equal} for trial in trials]
    out = io.StringIO(newline="")
    if lines:
        writer = csv.DictWriter(out, fieldnames=list(lines[0]))
        writer.writeheader()
        writer.writerows(lines)
    return out.getvalue()


def _line(trial: TrialResult, axes: Sequence[str], metrics: Sequence[str]) -> dict[str, Value]:
    resolved, spent = trial.record.resolved, trial.progress
    scores = _last_metrics(trial)
    return {
        "trial": trial.id,
        "study": trial.record.study,
        "seed": trial.seed,
        "state": trial.status.state,
        **{path: trial.record.point.get(path) for path in axes},
        "objective": resolved.get("objective", {}).get("name"),
        "target": resolved.get("target", {}).get("name"),
        "masking": trial.masking["name"],
        "ratio_asked": _ratio(trial.masking.get("ratio")),
        "ratio_realised": trial.last(REALISED),
        "budget": trial.budget[0] if trial.budget else None,
        "budget_asked": trial.budget[1] if trial.budget else None,
        "step": trial.points[-1].step if trial.points else None,
        "images": trial.last("train/images"),
        "visible_tokens": trial.last("train/visible_tokens"),
        "training_s": float(spent.seconds[-1]) if spent.started else None,
        "devices": trial.devices.count if trial.devices else None,
        "device_kind": trial.devices.kind if trial.devices else None,
        "images_per_s": median_of(trial.points, SPEED),
        "wait_share": spent.wait_share,
        LOSS: trial.last(LOSS),
        **{key: scores.get(key) for key in metrics},
    }


def _last_metrics(trial: TrialResult) -> dict[str, float]:
    """Everything that each probe measured at its last step; nothing where that one failed."""
    last = {record.probe: record for record in trial.probes}
    return {key: value for record in last.values() for key, value in record.metrics.items()}


def _ratio(value: object) -> Value:
    return value if isinstance(value, int | float | None) else ratio_text(value)
