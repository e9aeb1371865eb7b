"""Learning curves: probes and loss against images, visible tokens and training time."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from mimlab.compare.budgets import TimeUnit
from mimlab.compare.cells import Cell, axes_of, values_of
from mimlab.compare.figures import add_baseline_legend, add_baselines, styled
from mimlab.compare.rows import Row
from mimlab.compare.style import Style, metric_name
from mimlab.compare.trials import TrialResult
from mimlab.spec.recipes import RECIPE

LOSS = "train/loss"
MAX_POINTS = 300
"""Of a loss curve: more than a panel has pixels for."""
LOSS_COLUMNS = 4


@dataclass(frozen=True)
class Evaluation:
    """A probe's score, and what the trial had spent by then."""

    step: int
    score: float
    """In percent."""
    spent: tuple[float, float, float]
    """Images, visible tokens, training time."""


def evaluations(trial: TrialResult, metric: str, unit: TimeUnit) -> list[Evaluation]:
    """The curve of one probe of one trial; evaluations that the journal does not reach are left
    out."""
    found: list[Evaluation] = []
    for record in trial.probes:
        spent = _spent(trial, record.step, unit)
        if metric in record.metrics and spent is not None:
            found.append(Evaluation(record.step, 100 * record.metrics[metric], spent))
    return found


def mean_curve(curves: Sequence[Sequence[Evaluation]]) -> list[Evaluation]:
    """Mean over seeds at the steps that all of them have; [] of no curves."""
    by_step = [{one.step: one for one in curve} for curve in curves]
    if not by_step:
        return []
    common = sorted(set.intersection(*(set(curve) for curve in by_step)))
    means: list[Evaluation] = []
    for step in common:
        at_step = [curve[step] for curve in by_step]
        images, tokens, time = np.mean([one.spent for one in at_step], axis=0).tolist()
        score = float(np.mean([one.score for one in at_step]))
        means.append(Evaluation(step, score, (images, tokens, time)))
    return means


def probe_curves(
    cells: Sequence[Cell],
    metrics: Sequence[str],
    baselines: Sequence[Row],
    style: Style,
    unit: TimeUnit,
) -> go.Figure:
    """A row for each probe; columns: images, visible tokens, training time.

    A line is the mean over seeds, thin lines are the seeds; baselines are reference lines.
    """
    titles = _axis_titles(unit)
    figure = make_subplots(
        rows=len(metrics),
        cols=3,
        shared_yaxes=True,
        shared_xaxes=True,
        horizontal_spacing=0.03,
        vertical_spacing=0.09 / max(1, len(metrics) - 1),
    )
    for i, metric in enumerate(metrics, start=1):
        for cell in cells:
            curves = [evaluations(trial, metric, unit) for trial in cell.trials]
            curves = [curve for curve in curves if curve]
            if len(curves) > 1:
                for curve in curves:
                    _add_curve(figure, curve, cell, style, row=i, seed=True)
            _add_curve(figure, mean_curve(curves), cell, style, row=i, seed=False)
        for column in (1, 2, 3):
            add_baselines(figure, baselines, metric, row=i, col=column)
        figure.update_yaxes(title_text=f"{metric_name(metric)} (%)", row=i, col=1)
    add_baseline_legend(figure, baselines)
    for column, title in enumerate(titles, start=1):
        figure.update_xaxes(title_text=title, row=len(metrics), col=column)
        figure.update_xaxes(rangemode="tozero", col=column)
    names = len(cells) + len(baselines)
    top = 24 + 22 * -(-names // 4)
    figure.update_layout(
        legend={"orientation": "h", "y": 1, "yref": "container", "x": 0, "yanchor": "top"}
    )
    return styled(figure, height=top + 60 + 230 * len(metrics), top=top)


def _add_curve(
    figure: go.Figure,
    curve: Sequence[Evaluation],
    cell: Cell,
    style: Style,
    *,
    row: int,
    seed: bool,
) -> None:
    for column in range(3):
        figure.add_trace(
            go.Scatter(
                x=[one.spent[column] for one in curve],
                y=[one.score for one in curve],
                mode="lines" if seed else "lines+markers",
                line={
                    "color": style.colour(cell),
                    "dash": "solid" if seed else style.dash(cell),
                    "width": 1 if seed else 2.2,
                },
                marker={"symbol": style.symbol(cell), "size": 7},
                opacity=0.35 if seed else 1.0,
                name=cell.point,
                legendgroup=cell.point,
                showlegend=not seed and row == 1 and column == 0,
                hovertemplate=f"<b>{cell.label}</b><br>%{{y:.2f}} % at %{{x:,.4~g}}<extra></extra>",
                hoverinfo="skip" if seed else None,
            ),
            row=row,
            col=column + 1,
        )


def loss_groups(cells: Sequence[Cell]) -> list[tuple[str, list[Cell]]]:
    """Cells of one masking, objective and target, under a name: their losses measure one thing."""
    groups: dict[str, list[Cell]] = {}
    for cell in cells:
        resolved = cell.trials[0].record.resolved
        parts = [resolved.get(key) for key in ("masking", "objective", "target")]
        groups.setdefault(json.dumps(parts, sort_keys=True), []).append(cell)
    trials = [trial for cell in cells for trial in cell.trials]
    of_the_loss = (RECIPE, "objective.", "target.")
    paths = [path for path in axes_of(trials) if path.startswith(of_the_loss)]
    return [
        (" · ".join([found[0].point, *values_of(found[0].trials[0], trials, paths)]), found)
        for found in groups.values()
    ]


def loss_curves(cells: Sequence[Cell], style: Style, unit: TimeUnit) -> go.Figure:
    """A panel for each group of comparable losses, every trial a line; buttons choose the axis."""
    groups = loss_groups(cells)
    columns = min(LOSS_COLUMNS, len(groups))
    rows = -(-len(groups) // columns)
    figure = make_subplots(
        rows=rows,
        cols=columns,
        subplot_titles=[name for name, _ in groups],
        horizontal_spacing=0.05,
        vertical_spacing=min(0.2, 0.42 / rows),
    )
    spent: list[tuple[list[float], ...]] = []
    for i, (_, members) in enumerate(groups):
        for cell in members:
            for trial in cell.trials:
                xs, losses = _loss_of(trial, unit)
                spent.append(xs)
                figure.add_trace(
                    go.Scatter(
                        x=xs[0],
                        y=losses,
                        mode="lines",
                        line={"color": style.colour(cell), "width": 1.4},
                        opacity=0.85,
                        showlegend=False,
                        hovertemplate=(
                            f"<b>{cell.label}</b><br>seed {trial.seed}<br>"
                            "loss %{y:.4f} at %{x:,.4~g}<extra></extra>"
                        ),
                    ),
                    row=i // columns + 1,
                    col=i % columns + 1,
                )
    titles = _axis_titles(unit)
    figure.update_xaxes(title_text=titles[0], rangemode="tozero")
    figure.update_yaxes(title_text="loss", col=1)
    axes = [name for name in figure.to_plotly_json()["layout"] if name.startswith("xaxis")]
    figure.update_layout(updatemenus=[_chooser(titles, spent, axes)])
    return styled(figure, height=80 + 240 * rows, top=84)


def _chooser(titles: Sequence[str], spent: Sequence[tuple[list[float], ...]], axes: list[str]):
    """Buttons that put all panels on another axis."""
    return {
        "type": "buttons",
        "direction": "right",
        "x": 0,
        "xanchor": "left",
        "y": 1,
        "yanchor": "bottom",
        "pad": {"b": 32, "l": 0},
        "bgcolor": "#ffffff",
        "bordercolor": "#c9d0d8",
        "font": {"size": 12},
        "showactive": True,
        "buttons": [
            {
                "label": title,
                "method": "update",
                "args": [
                    {"x": [xs[i] for xs in spent]},
                    {f"{axis}.title.text": title for axis in axes},
                ],
            }
            for i, title in enumerate(titles)
        ],
    }


def _loss_of(
    trial: TrialResult, unit: TimeUnit
) -> tuple[tuple[list[float], list[float], list[float]], list[float]]:
    found = [
        (spent, point.metrics[LOSS])
        for point in trial.points
        if LOSS in point.metrics and (spent := _spent(trial, point.step, unit)) is not None
    ]
    stride = -(-len(found) // MAX_POINTS) or 1
    # Counted from the end: the last point is the one that is asked for.
    kept = found[::-1][::stride][::-1]
    columns = ([spent[i] for spent, _ in kept] for i in range(3))
    images, tokens, time = columns
    return (images, tokens, time), [loss for _, loss in kept]


def _spent(trial: TrialResult, step: int, unit: TimeUnit) -> tuple[float, float, float] | None:
    progress = trial.progress
    if not progress.started:
        return None
    images = progress.at(step, progress.images)
    tokens = progress.at(step, progress.tokens)
    seconds = progress.at(step, progress.seconds)
    if images is None or tokens is None or seconds is None:
        return None
    return images, tokens, unit.of(trial, seconds)


def _axis_titles(unit: TimeUnit) -> tuple[str, str, str]:
    return "images", "visible tokens", unit.name
