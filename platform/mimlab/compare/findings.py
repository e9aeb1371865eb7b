"""What a study says in plain words, and what it cannot say."""

from __future__ import annotations

from collections.abc import Sequence

from mimlab.compare.budgets import budget_words
from mimlab.compare.cells import Cell
from mimlab.compare.intervals import Paired, estimate
from mimlab.compare.rows import Comparison, Row
from mimlab.compare.rungs import MIN_TRIALS, Rung
from mimlab.compare.style import metric_name
from mimlab.compare.tables import best_cells
from mimlab.compare.trials import TrialResult

_WHO = {"raw-pixels": "Raw pixels beat", "random-init": "A random-initialised encoder beats"}


def findings(
    comparison: Comparison, cells: Sequence[Cell], trials: Sequence[TrialResult]
) -> list[str]:
    """Sentences for the head of a report."""
    found = [_progress(trials)]
    found += [sentence for metric in comparison.metrics if (sentence := _best(cells, metric))]
    found += [
        sentence
        for baseline in comparison.baselines
        for metric in comparison.metrics
        if (sentence := _beaten(baseline, cells, metric))
    ]
    if comparison.metrics and not any(len(cell.trials) > 1 for cell in cells):
        found.append(
            "Every point has one seed: a difference between two of them cannot be told from luck."
        )
    return [*found, *comparison.unlike, budget_words(trials)]


def paired_words(pairs: Sequence[Paired]) -> str:
    """How to read the paired differences, or why there are none."""
    if not pairs:
        return "No two maskings share a ratio and a setting: there is nothing to pair."
    usable = [pair for pair in pairs if pair.difference and pair.difference.n > 1]
    if not usable:
        return (
            f"{_count(len(pairs), 'pair')} of maskings at equal ratio, none with two finished "
            "seeds in common: no interval can be given. Run the study with two seeds or more."
        )
    words = (
        "Trials of equal seed share their initial weights and the order of the images, so their "
        "differences vary less than the scores. Intervals are Student’s t over the common seeds, "
        f"not corrected for the {_count(len(usable), 'comparison')} made: one interval in twenty "
        "misses the true difference by chance."
    )
    left_out = len(pairs) - len(usable)
    if left_out:
        words += f" {_count(left_out, 'pair')} with fewer than two common seeds left out."
    return words


def rung_words(rungs: Sequence[Rung]) -> str:
    """Whether early ranks predicted final ranks, as far as the number of trials lets one say."""
    if not rungs:
        return "No finished trial was evaluated by the same probe more than once."
    n = max(rung.n for rung in rungs)
    if n < MIN_TRIALS:
        return (
            f"Only {_count(n, 'trial')} to rank: even the same order twice would come about by "
            f"chance too often to mean anything. {MIN_TRIALS} finished trials are the least."
        )
    return (
        "1 means that the early ranks were the final ones, 0 that they said nothing. Trials that "
        "were stopped early have no final rank and are not counted."
    )


def _progress(trials: Sequence[TrialResult]) -> str:
    done = sum(trial.finished for trial in trials)
    if done == len(trials):
        return f"All {len(trials)} trials have finished." if done > 1 else "The trial has finished."
    states: dict[str, int] = {}
    for trial in trials:
        states[trial.status.state] = states.get(trial.status.state, 0) + 1
    return f"Trials so far: {', '.join(f'{n} {state}' for state, n in states.items())}."


def _best(cells: Sequence[Cell], metric: str) -> str:
    best = best_cells(cells, metric)
    found = estimate([100 * score for score in best[0].scores(metric).values()]) if best else None
    if found is None:
        return ""
    names = " and ".join(cell.label for cell in best)
    spread = f" ± {found.std:.2f}, n = {found.n}" if found.std is not None else ""
    return f"Best by {metric_name(metric)}: {names} ({found.mean:.2f} %{spread})."


def _beaten(baseline: Row, cells: Sequence[Cell], metric: str) -> str:
    score = baseline.mean(metric)
    if score is None:
        return ""
    estimates = (estimate(list(cell.scores(metric).values())) for cell in cells)
    means = [found.mean for found in estimates if found]
    beaten = sum(score > mean for mean in means)
    if not beaten:
        return ""
    which = "every encoder" if beaten == len(means) else f"{beaten} of {len(means)} encoders"
    who = _WHO.get(baseline.label, f"{baseline.label} beats")
    return f"{who} {which} by {metric_name(metric)} ({100 * score:.2f} %)."


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"
