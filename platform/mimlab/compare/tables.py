"""The tables of a report as HTML; every text from a study is escaped here."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from statistics import fmean

from mimlab.compare.budgets import TimeUnit
from mimlab.compare.cells import NO_RATIO, REALISED, Cell
from mimlab.compare.intervals import Estimate, Paired, estimate
from mimlab.compare.rows import SPEED, Row, median_of
from mimlab.compare.rungs import Rung
from mimlab.compare.style import Style, baseline_name, metric_name
from mimlab.compare.trials import TrialResult

DASH = "–"
Line = Sequence[str]


def table(header: Line, lines: Sequence[Line], *, texts: int, foot: Sequence[Line] = ()) -> str:
    """A table of cells that are HTML already; the first `texts` columns are words, not numbers."""

    def line(cells: Line, tag: str) -> str:
        return "".join(
            f"<{tag}{' class=num' if i >= texts else ''}>{cell}</{tag}>"
            for i, cell in enumerate(cells)
        )

    body = "".join(f"<tr>{line(cells, 'td')}</tr>" for cells in lines)
    last = "".join(f"<tr>{line(cells, 'td')}</tr>" for cells in foot)
    return (
        f'<div class="wide"><table><thead><tr>{line(header, "th")}</tr></thead>'
        f"<tbody>{body}</tbody>{f'<tbody class=foot>{last}</tbody>' if foot else ''}</table></div>"
    )


def results_table(
    cells: Sequence[Cell], metrics: Sequence[str], baselines: Sequence[Row], style: Style
) -> str:
    """A line for each cell with mean ± deviation over seeds; the baselines below."""
    several = any(cell.setting for cell in cells)
    best = {metric: best_cells(cells, metric) for metric in metrics}
    header = [
        "masking",
        *(["setting"] if several else []),
        "ratio asked",
        "realised",
        "seeds",
        *(f"{escape(metric_name(metric))} (%)" for metric in metrics),
    ]
    lines = [
        [
            name(cell, style),
            *([escape(cell.setting)] if several else []),
            escape(cell.ratio),
            number(cell.ratio_realised, "{:.4f}") if cell.ratio != NO_RATIO else DASH,
            str(len(cell.trials)),
            *(_score(cell, metric, strong=cell in best[metric]) for metric in metrics),
        ]
        for cell in cells
    ]
    blank = [""] * (len(header) - len(metrics) - 1)
    foot = [
        [
            escape(baseline_name(row.label)),
            *blank,
            *(number(_percent(row.mean(metric)), "{:.2f}") for metric in metrics),
        ]
        for row in baselines
    ]
    return table(header, lines, texts=2 if several else 1, foot=foot)


def best_cells(cells: Sequence[Cell], metric: str) -> list[Cell]:
    """The cells with the highest mean; of finished ones, where any has a score."""
    scored = [cell for cell in cells if cell.scores(metric)]
    means = [
        (fmean(cell.scores(metric).values()), cell)
        for cell in [cell for cell in scored if cell.complete] or scored
    ]
    best = max((mean for mean, _ in means), default=None)
    return [cell for mean, cell in means if mean == best]


def paired_table(pairs: Sequence[Paired]) -> str:
    """Differences between maskings with their intervals, in percentage points."""
    several = any(pair.setting for pair in pairs)
    header = [
        "probe",
        "difference",
        *(["setting"] if several else []),
        "ratio",
        "common seeds",
        "mean (points)",
        "95 % interval",
        "told apart",
    ]
    lines = [
        [
            escape(metric_name(pair.metric)),
            escape(f"{pair.first} − {pair.second}"),
            *([escape(pair.setting)] if several else []),
            escape(pair.ratio),
            str(pair.difference.n),
            number(100 * pair.difference.mean, "{:+.2f}"),
            _interval(pair.difference.times(100.0), "{:+.2f}"),
            "yes" if pair.told_apart else "no",
        ]
        for pair in pairs
        if pair.difference is not None and pair.difference.n > 1
    ]
    return table(header, lines, texts=3 if several else 2)


def cost_table(cells: Sequence[Cell], style: Style, unit: TimeUnit) -> str:
    """What each trial cost."""
    header = [
        "trial",
        "seed",
        "state",
        "images",
        "visible tokens",
        escape(unit.name),
        "images/s",
        "data wait",
        "ratio realised",
    ]
    lines = [
        [f"{name(cell, style, ratio=True)}{_small(cell.setting)}", *_cost(trial, cell, unit)]
        for cell in cells
        for trial in cell.trials
    ]
    return table(header, lines, texts=1)


def rung_table(rungs: Sequence[Rung]) -> str:
    """Each earlier evaluation against the last one."""
    lines = [
        [
            escape(metric_name(rung.metric)),
            f"{rung.epoch:,.4g}",
            str(rung.n),
            number(rung.spearman, "{:+.2f}"),
            number(rung.kendall, "{:+.2f}"),
            "too few to say" if rung.too_few else "",
        ]
        for rung in rungs
    ]
    header = ["probe", "evaluated at epoch", "trials", "Spearman’s ρ", "Kendall’s τ", ""]
    return table(header, lines, texts=1)


def name(cell: Cell, style: Style, *, ratio: bool = False) -> str:
    """The masking with its colour, and its state where it is not finished."""
    words = escape(cell.point if ratio else cell.variant)
    state = "" if ratio or not cell.unfinished else f" <em>({escape(cell.unfinished)})</em>"
    return f'<i class="swatch" style="background:{style.colour(cell)}"></i>{words}{state}'


def number(value: float | None, form: str) -> str:
    """A formatted number; a dash for none and for what is not finite."""
    if value is None or not math.isfinite(value):
        return DASH
    return form.format(value).replace("-", "−")


def _cost(trial: TrialResult, cell: Cell, unit: TimeUnit) -> Line:
    spent, wait = trial.progress, trial.progress.wait_share
    if not spent.started:
        return [str(trial.seed), escape(trial.status.state), *[DASH] * 6]
    return [
        str(trial.seed),
        escape(trial.status.state),
        f"{spent.images[-1]:,.0f}",
        f"{spent.tokens[-1]:,.0f}",
        f"{unit.of(trial, float(spent.seconds[-1])):,.2f}",
        number(median_of(trial.points, SPEED), "{:,.0f}"),
        number(_percent(wait), "{:.1f} %"),
        number(trial.last(REALISED), "{:.4f}") if cell.ratio != NO_RATIO else DASH,
    ]


def _score(cell: Cell, metric: str, *, strong: bool) -> str:
    found = estimate([100 * score for score in cell.scores(metric).values()])
    if found is None:
        return DASH
    text = f"{found.mean:.2f}" + ("" if found.std is None else f" ± {found.std:.2f}")
    text = f"<b>{text}</b>" if strong else text
    # Fewer scores than seeds: say so, or the deviation is taken for that of all.
    short = f" (n = {found.n})" if found.n < len(cell.trials) else ""
    interval = "" if found.low is None else _interval(found, "{:.2f}")
    return f"{text}{short}{_small(interval)}"


def _interval(found: Estimate, form: str) -> str:
    if found.low is None or found.high is None:
        return DASH
    return f"{number(found.low, form)} to {number(found.high, form)}"


def _small(text: str) -> str:
    return f"<small>{escape(text)}</small>" if text else ""


def _percent(value: float | None) -> float | None:
    return None if value is None else 100 * value
