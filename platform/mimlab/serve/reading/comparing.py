"""What compares the trials of a submission by a probe: heat map, parallel coordinates, seeds."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from mimlab.compare.cells import NO_RATIO
from mimlab.compare.intervals import estimate
from mimlab.serve.reading.models import (
    HeatMap,
    Parallel,
    SeedMean,
    SubmissionDetail,
    TrialSummary,
    Value,
)

MASKING, RATIO = "masking.name", "masking.ratio"


def seed_means(detail: SubmissionDetail, metric: str) -> list[SeedMean]:
    """Every cell that has a score, in the order of the study.

    Of finished trials, while a cell has any: an earlier epoch is no match for a later one.
    """
    groups: dict[str, list[TrialSummary]] = {}
    for trial in detail.trials:
        groups.setdefault(trial.cell, []).append(trial)
    found: list[SeedMean] = []
    for label, members in groups.items():
        scores = _scores(members, metric)
        of_seeds = estimate(list(scores.values()))
        if of_seeds is not None:
            first = members[0]
            found.append(
                SeedMean(
                    label=label,
                    masking=first.masking,
                    ratio=first.ratio,
                    scores=scores,
                    mean=of_seeds.mean,
                    half_width=of_seeds.half_width,
                    unfinished=sum(trial.state != "finished" for trial in members),
                )
            )
    return found


def heatmap(detail: SubmissionDetail, metric: str, x: str = RATIO, y: str = MASKING) -> HeatMap:
    """The metric over two axes of the study. A cell is the mean of what `seed_means` counts."""
    cells: dict[tuple[str, str], list[TrialSummary]] = {}
    for trial in detail.trials:
        cells.setdefault((value_at(trial, y), value_at(trial, x)), []).append(trial)
    rows, columns = (_ordered({key[i] for key in cells}) for i in (0, 1))
    scores = {
        key: [
            score
            for cell in dict.fromkeys(trial.cell for trial in members)
            for score in _scores([t for t in members if t.cell == cell], metric).values()
        ]
        for key, members in cells.items()
    }
    grid = [[scores.get((row, column), []) for column in columns] for row in rows]
    return HeatMap(
        metric=metric,
        x=x,
        y=y,
        columns=columns,
        rows=rows,
        means=[[statistics.fmean(one) if one else None for one in line] for line in grid],
        counts=[[len(one) for one in line] for line in grid],
    )


def parallel(detail: SubmissionDetail, metric: str) -> Parallel:
    """A line for each trial that has a score; axes that do not vary are left out.

    Of trials that differ by their seeds alone, those that have finished, if any has.
    """
    finished = {trial.cell for trial in detail.trials if trial.state == "finished"}
    scored = [
        trial
        for trial in detail.trials
        if metric in trial.scores and (trial.state == "finished" or trial.cell not in finished)
    ]
    axes = [axis for axis in detail.axes if len({value_at(trial, axis) for trial in scored}) > 1]
    lines: list[list[Value]] = [
        [*(trial.point.get(axis) for axis in axes), trial.scores[metric]] for trial in scored
    ]
    return Parallel(metric=metric, axes=axes, lines=lines, trial_ids=[t.id for t in scored])


def value_at(trial: TrialSummary, path: str) -> str:
    """A trial's value on an axis as text; the masking and its ratio also where they do not vary."""
    if path == MASKING:
        return trial.masking
    if path == RATIO:
        return trial.ratio
    value = trial.point.get(path, NO_RATIO)
    return f"{value:g}" if isinstance(value, float) else str(value)


def _scores(members: Sequence[TrialSummary], metric: str) -> dict[int, float]:
    finished = [trial for trial in members if trial.state == "finished"]
    of_these = [trial for trial in finished or members if metric in trial.scores]
    return {trial.seed: trial.scores[metric] for trial in of_these}


def _ordered(values: set[str]) -> list[str]:
    """Numbers first, rising."""

    def rank(value: str) -> tuple[bool, float, str]:
        try:
            return False, float(value), value
        except ValueError:
            return True, 0.0, value

    return sorted(values, key=rank)
