"""Rung correlation: did the ranks of an earlier evaluation predict the final ranks?"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from mimlab.compare.trials import TrialResult

MIN_TRIALS = 5
"""Of n untied trials even the same order twice happens by chance, either way round, in 2 ÷ n! of
all cases: 0.083 for n = 4, 0.017 for n = 5. Fewer than 5 can never reach the usual 0.05."""


@dataclass(frozen=True)
class Rung:
    """One earlier evaluation against the last one, over the finished trials."""

    metric: str
    evaluation: int
    """1 for the first one of the trial."""
    epoch: float
    """Median over the trials."""
    n: int
    """Finished trials that have both scores."""
    spearman: float | None
    """Spearman's ρ; None where fewer than two trials, or no two scores differ."""
    kendall: float | None
    """Kendall's τ-b; None as ρ."""

    @property
    def too_few(self) -> bool:
        """Whether n is too small for any answer."""
        return self.n < MIN_TRIALS


def rungs_of(trials: Sequence[TrialResult], metrics: Sequence[str]) -> list[Rung]:
    """Every evaluation of every probe before its last one, by probe and time.

    Evaluations are matched by their number within the trial: batch sizes and data may differ, so
    the steps may. Trials that were stopped early have no final rank and are not in it.
    """
    finished = [trial for trial in trials if trial.finished]
    return [rung for metric in metrics for rung in _rungs(finished, metric)]


def _rungs(trials: Sequence[TrialResult], metric: str) -> list[Rung]:
    probe = metric.split("/")[1]
    # A failed evaluation keeps its number: the next one must not take its place.
    runs = [[record for record in trial.probes if record.probe == probe] for trial in trials]
    count = max((len(run) for run in runs), default=0)
    rungs: list[Rung] = []
    for i in range(count - 1):
        both = [
            (run[i], run[-1])
            for run in runs
            if len(run) > i + 1 and metric in run[i].metrics and metric in run[-1].metrics
        ]
        if not both:
            continue
        early = [record.metrics[metric] for record, _ in both]
        final = [record.metrics[metric] for _, record in both]
        epoch = statistics.median(record.epoch for record, _ in both)
        rungs.append(Rung(metric, i + 1, epoch, len(both), *correlations(early, final)))
    return rungs


def correlations(
    early: Sequence[float], final: Sequence[float]
) -> tuple[float | None, float | None]:
    """Spearman's ρ and Kendall's τ-b, ties by mean ranks; None where they are not defined."""
    if len(early) < 2 or len(set(early)) == 1 or len(set(final)) == 1:
        return None, None
    from scipy import stats  # takes most of a second to import

    # scipy declares no type for its results.
    rho = float(stats.spearmanr(early, final).statistic)  # pyright: ignore
    tau = float(stats.kendalltau(early, final).statistic)  # pyright: ignore
    return rho, tau
