"""The results as a LaTeX table (booktabs), to be put into a paper with `\\input`."""

from __future__ import annotations

import re
from collections.abc import Sequence

from mimlab.compare.cells import NO_RATIO, Cell
from mimlab.compare.intervals import estimate
from mimlab.compare.rows import Comparison, Row
from mimlab.compare.style import baseline_name, metric_name
from mimlab.compare.tables import best_cells

_SPECIAL = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "·": r"\(\cdot\)",
    "–": "--",
    "−": r"\(-\)",
    "×": r"\(\times\)",
} | {character: f"\\{character}" for character in "&%$#_{}"}
_PATTERN = re.compile("|".join(map(re.escape, _SPECIAL)))


def escaped(text: str) -> str:
    """Text that LaTeX prints as it is."""
    return _PATTERN.sub(lambda found: _SPECIAL[found.group()], " ".join(text.split()))


def latex_of(comparison: Comparison, cells: Sequence[Cell]) -> str:
    """A `table` that needs `\\usepackage{booktabs}`.

    Accuracy in percent, mean ± sample standard deviation over seeds; the best mean of each probe
    bold.
    """
    several = any(cell.setting for cell in cells)
    metrics = comparison.metrics
    best = {metric: best_cells(cells, metric) for metric in metrics}
    header = [
        "Masking",
        *(["Setting"] if several else []),
        "Ratio",
        "Seeds",
        *(escaped(f"{metric_name(metric)} (%)") for metric in metrics),
    ]
    lines = [
        [
            escaped(f"{cell.variant} ({cell.unfinished})" if cell.unfinished else cell.variant),
            *([escaped(cell.setting)] if several else []),
            "--" if cell.ratio == NO_RATIO else escaped(cell.ratio),
            str(len(cell.trials)),
            *(_score(cell, metric, bold=cell in best[metric]) for metric in metrics),
        ]
        for cell in cells
    ]
    foot = [_baseline(row, metrics, len(header)) for row in comparison.baselines]
    columns = "l" * (2 if several else 1) + "r" * (len(header) - (2 if several else 1))
    caption = (
        f"{comparison.question or comparison.study} Top-1 accuracy, mean and standard deviation "
        f"over seeds. {comparison.budget}"
    )
    return "\n".join(
        [
            r"% \usepackage{booktabs}",
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{escaped(caption)}}}",
            rf"\begin{{tabular}}{{{columns}}}",
            r"\toprule",
            _line(header),
            r"\midrule",
            *map(_line, lines),
            *([r"\midrule"] if foot else []),
            *map(_line, foot),
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
            "",
        ]
    )


def _line(cells: Sequence[str]) -> str:
    return " & ".join(cells) + r" \\"


def _score(cell: Cell, metric: str, *, bold: bool) -> str:
    found = estimate([100 * score for score in cell.scores(metric).values()])
    if found is None:
        return "--"
    mean = rf"\mathbf{{{found.mean:.2f}}}" if bold else f"{found.mean:.2f}"
    spread = "" if found.std is None else rf" \pm {found.std:.2f}"
    # Fewer scores than seeds: say so, or the deviation is taken for that of all.
    short = f" (n = {found.n})" if found.n < len(cell.trials) else ""
    return rf"\({mean}{spread}\){short}"


def _baseline(row: Row, metrics: Sequence[str], columns: int) -> list[str]:
    blank = [""] * (columns - len(metrics) - 1)
    scores = [row.mean(metric) for metric in metrics]
    numbers = ["--" if score is None else rf"\({100 * score:.2f}\)" for score in scores]
    return [escaped(baseline_name(row.label)), *blank, *numbers]
