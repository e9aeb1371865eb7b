"""The HTML report: one file with everything in it, that asks no other place for anything."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from html import escape
from importlib.resources import files

import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from mimlab.compare.board_strips import BoardGroup, board_groups
from mimlab.compare.budgets import TimeUnit, time_unit
from mimlab.compare.cells import Cell, cells_of, settings
from mimlab.compare.curves import loss_curves, loss_groups, probe_curves
from mimlab.compare.figures import heat_map, score_ranges, seed_means
from mimlab.compare.findings import findings, paired_words, rung_words
from mimlab.compare.intervals import Paired, paired_differences
from mimlab.compare.rows import Comparison, compare_trials
from mimlab.compare.rungs import rungs_of
from mimlab.compare.style import Style
from mimlab.compare.tables import cost_table, name, paired_table, results_table, rung_table
from mimlab.compare.trials import TrialResult
from mimlab.storage.folders import SubmissionFolder
from mimlab.storage.records import SubmissionRecord

POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:"
"""What a browser may load for the page: nothing but what stands in it."""
LONG_TABLE = 16
"""Lines that are shown without a click."""
OPEN_SETTINGS = 4
"""Settings shown without a click; a study over a learning rate may have dozens."""


class Report:
    """Builds the page of one submission, section by section."""

    def __init__(self, submission: SubmissionFolder, trials: Sequence[TrialResult]) -> None:
        self._record: SubmissionRecord = submission.record()
        self._trials = trials
        self._comparison: Comparison = compare_trials(submission, self._trials)
        self._cells: list[Cell] = cells_of(self._trials)
        self._style = Style(self._cells)
        self._unit: TimeUnit = time_unit([t for t in self._trials if t.progress.started])

    def page(self) -> str:
        """The whole file."""
        sections = [
            self._results(),
            self._heat_maps(),
            self._seeds(),
            self._probe_curves(),
            self._losses(),
            self._cost(),
            self._rungs(),
            self._boards(),
        ]
        here = files("mimlab.compare")
        return (
            '<!doctype html><html lang="en"><head><meta charset="utf-8">'
            f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f"<title>{escape(self._comparison.study)} – mimlab</title>"
            f"<style>{here.joinpath('report.css').read_text()}</style>"
            f"<script>{get_plotlyjs()}</script></head>"
            f"<body><main>{self._head()}{''.join(sections)}</main>"
            f"<script>{here.joinpath('report.js').read_text()}</script></body></html>\n"
        )

    def _head(self) -> str:
        record = self._record
        made = [
            f"submission {record.id}",
            record.created[:16].replace("T", " ") + " UTC" if record.created else "",
            f"commit {commit[:10]}" if (commit := record.environment.get("git.commit")) else "",
            f"mimlab {version}" if (version := record.environment.get("package.mimlab")) else "",
        ]
        points = findings(self._comparison, self._cells, self._trials)
        return (
            f'<header><p class="kind">{escape(self._comparison.study)}</p>'
            f"<h1>{escape(self._comparison.question or self._comparison.study)}</h1>"
            f'<p class="made">{" · ".join(escape(word) for word in made if word)}</p>'
            f"<ul>{''.join(f'<li>{escape(point)}</li>' for point in points)}</ul></header>"
        )

    def _results(self) -> str:
        found = self._comparison
        words = (
            "Top-1 accuracy of the probes at the last step, mean ± standard deviation over seeds; "
            "below it the 95 % interval of the mean (Student’s t). Bold: the best mean."
        )
        body = results_table(self._cells, found.metrics, found.baselines, self._style)
        return _section("Results", words, body)

    def _heat_maps(self) -> str:
        metrics = self._comparison.metrics
        if not metrics:
            return _section("Masking × ratio", "No probe has given a score yet.", "")
        ranges = score_ranges(self._cells, metrics)
        words = "Mean over seeds; hover for the number of seeds, interval and realised ratio."
        if len(settings(self._cells)) > 1:
            words += " One map for each setting of the other axes: none is averaged over."
        return _section(
            "Masking × ratio",
            words,
            self._by_setting(lambda cells: heat_map(cells, metrics, ranges)),
        )

    def _by_setting(self, draw: Callable[[list[Cell]], go.Figure]) -> str:
        """A figure for each setting of the axes outside the masking."""
        names = settings(self._cells)
        parts: list[str] = []
        for i, setting in enumerate(names):
            drawn = _figure(draw([cell for cell in self._cells if cell.setting == setting]))
            if len(names) == 1:
                parts.append(drawn)
                continue
            opened = " open" if i < OPEN_SETTINGS else ""
            parts.append(f"<details{opened}><summary>{escape(setting)}</summary>{drawn}</details>")
        return "".join(parts)

    def _seeds(self) -> str:
        metrics, baselines = self._comparison.metrics, self._comparison.baselines
        if not metrics:
            return ""
        pairs = paired_differences(self._cells, metrics)
        figure = _figure(seed_means(self._cells, metrics, baselines, self._style))
        return _section(
            "Seeds, means and differences",
            "Circles are seeds, diamonds their means, bars the 95 % intervals of the means where "
            "there are two seeds or more.",
            f"{figure}<h3>Differences between maskings at equal seed and ratio</h3>"
            f"<p>{escape(paired_words(pairs))}</p>{_pairs(pairs)}",
        )

    def _probe_curves(self) -> str:
        metrics, baselines = self._comparison.metrics, self._comparison.baselines
        if not metrics:
            return ""
        words = (
            "Colour is the masking, line and marker the ratio. Thick lines are means over seeds at "
            "the steps that all of them have, thin lines the seeds. Time is that of training: "
            "pauses before a resume do not count."
        )
        return _section(
            "Learning curves of the probes",
            words,
            self._by_setting(
                lambda cells: probe_curves(cells, metrics, baselines, self._style, self._unit)
            ),
        )

    def _losses(self) -> str:
        if not any(trial.progress.started for trial in self._trials):
            return _section("Training loss", "No trial has logged a step yet.", "")
        words = "Each line is a trial."
        if len(loss_groups(self._cells)) > 1:
            words += (
                " Losses under different maskings, objectives or targets measure different things: "
                "each panel has its own axis, and nothing is ranked by loss."
            )
        figure = loss_curves(self._cells, self._style, self._unit)
        return _section("Training loss", words, _figure(figure))

    def _cost(self) -> str:
        unit = self._unit
        total = sum(unit.of(t, float(t.progress.seconds[-1])) for t in self._trials)
        words = (
            f"All trials together: {total:,.2f} {unit.name} of training. Data wait is the share of "
            "it that went into waiting for images; images/s is the median over the logged "
            "intervals."
        )
        body = cost_table(self._cells, self._style, unit)
        return _section("Cost", words, _folded(body, len(self._trials), "the cost of each trial"))

    def _rungs(self) -> str:
        rungs = rungs_of(self._trials, self._comparison.metrics)
        body = rung_table(rungs) if rungs else ""
        return _section("Did early ranks predict final ranks?", rung_words(rungs), body)

    def _boards(self) -> str:
        groups = board_groups(self._cells)
        if not groups:
            return _section("Boards", "No board has been drawn yet.", "")
        words = "The newest board of each trial: masked above, predicted below."
        return _section("Boards", words, "".join(self._group(group) for group in groups))

    def _group(self, group: BoardGroup) -> str:
        lines = [f'<div class="board"><p>input</p><img alt="inputs" src="{group.inputs}"></div>']
        for strip in group.strips:
            step = f"seed {strip.trial.seed}"
            about = f"{strip.cell.setting}, {step}" if strip.cell.setting else step
            lines.append(
                f'<div class="board"><p>{name(strip.cell, self._style, ratio=True)}'
                f"<small>{escape(about)}</small></p>"
                f'<img alt="masked and predicted: {escape(strip.cell.label, quote=True)}" '
                f'src="{strip.picture}"></div>'
            )
        return f'<div class="boards">{"".join(lines)}</div>'


def report_of(submission: SubmissionFolder, trials: Sequence[TrialResult]) -> str:
    """The HTML of a submission's report on its trials."""
    return Report(submission, trials).page()


def _pairs(pairs: Sequence[Paired]) -> str:
    """The table of those with an interval; behind a click where it is long."""
    usable = [pair for pair in pairs if pair.difference is not None and pair.difference.n > 1]
    if not usable:
        return ""
    apart = sum(pair.told_apart for pair in usable)
    title = f"{len(usable)} differences, {apart} of them told apart from zero"
    return _folded(paired_table(usable), len(usable), title)


def _folded(body: str, lines: int, title: str) -> str:
    """A table as it is, or behind a click where it is long."""
    if lines <= LONG_TABLE:
        return body
    return f"<details><summary>{escape(title)}</summary>{body}</details>"


def _section(title: str, words: str, body: str) -> str:
    return f"<section><h2>{escape(title)}</h2><p>{escape(words)}</p>{body}</section>"


def _figure(figure: go.Figure) -> str:
    """A figure as data, drawn by report.js when it is seen first."""
    height = math.ceil(figure.layout["height"])
    # A closing tag within a string would end the script.
    data = str(figure.to_json()).replace("<", "\\u003c")
    return (
        f'<div class="figure" style="min-height:{height}px">'
        f'<script type="application/json">{data}</script></div>'
    )
