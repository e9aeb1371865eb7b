"""Figures of final scores: masking × ratio heat maps, and seeds with means and intervals."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from mimlab.compare.cells import NO_RATIO, Cell, ratios, variants
from mimlab.compare.intervals import Estimate, estimate
from mimlab.compare.rows import Row
from mimlab.compare.style import (
    BASELINE_DASHES,
    FONT,
    INK,
    MUTED,
    RULE,
    Style,
    baseline_name,
    metric_name,
)

SCALE = ((0.0, "#edf2f8"), (0.5, "#8fb4d6"), (1.0, "#20558a"))
"""One hue from light to dark: read in grey as well."""


def heat_map(
    cells: Sequence[Cell], metrics: Sequence[str], ranges: dict[str, tuple[float, float]]
) -> go.Figure:
    """Masking × ratio of one setting, a panel for each probe; a cell is the mean over seeds.

    `ranges` are the scores, in percent, at the ends of the colour scale: equal for all settings.
    """
    rows, columns = variants(cells), ratios(cells)
    found = {(cell.variant, cell.ratio): cell for cell in cells}
    figure = make_subplots(
        cols=len(metrics),
        subplot_titles=[f"{metric_name(metric)} (%)" for metric in metrics],
        shared_yaxes=True,
        horizontal_spacing=0.04,
    )
    for i, metric in enumerate(metrics, start=1):
        grid = [[found.get((row, column)) for column in columns] for row in rows]
        means = [[_estimate(cell, metric) for cell in line] for line in grid]
        figure.add_trace(
            go.Heatmap(
                x=columns,
                y=rows,
                z=[[None if one is None else one.mean for one in line] for line in means],
                text=[["" if one is None else _short(one) for one in line] for line in means],
                texttemplate="%{text}",
                textfont={"size": 13},
                customdata=[[_hover(cell, metric) for cell in line] for line in grid],
                hovertemplate="%{customdata}<extra></extra>",
                hoverongaps=False,
                colorscale=SCALE,
                zmin=ranges[metric][0],
                zmax=ranges[metric][1],
                showscale=False,
                xgap=3,
                ygap=3,
            ),
            row=1,
            col=i,
        )
    figure.update_xaxes(type="category", title_text="ratio asked", showgrid=False, ticks="")
    figure.update_yaxes(type="category", autorange="reversed", showgrid=False, ticks="")
    figure.update_yaxes(title_text="masking", col=1)
    return styled(figure, height=110 + 62 * len(rows))


def score_ranges(cells: Sequence[Cell], metrics: Sequence[str]) -> dict[str, tuple[float, float]]:
    """Lowest and highest cell mean of each metric, in percent."""
    ranges: dict[str, tuple[float, float]] = {}
    for metric in metrics:
        means = [one.mean for cell in cells if (one := _estimate(cell, metric))]
        low, high = (min(means), max(means)) if means else (0.0, 1.0)
        ranges[metric] = (low, high) if high > low else (low - 1.0, high + 1.0)
    return ranges


def seed_means(
    cells: Sequence[Cell], metrics: Sequence[str], baselines: Sequence[Row], style: Style
) -> go.Figure:
    """Every seed, the mean with its t interval, and the baselines as lines; a panel a probe."""
    figure = make_subplots(
        cols=len(metrics),
        subplot_titles=[metric_name(metric) for metric in metrics],
        shared_yaxes=True,
        horizontal_spacing=0.05,
    )
    for i, metric in enumerate(metrics, start=1):
        for cell in cells:
            _add_cell(figure, cell, metric, style.colour(cell), i)
        add_baselines(figure, baselines, metric, row=1, col=i, category=cells[0].label)
    add_baseline_legend(figure, baselines)
    figure.update_xaxes(title_text="top-1 accuracy (%)")
    figure.update_yaxes(
        type="category",
        categoryorder="array",
        categoryarray=[cell.label for cell in reversed(cells)],
        range=[-0.6, len(cells) - 0.4],
        showgrid=True,
    )
    figure.update_layout(
        showlegend=bool(baselines),
        legend={"orientation": "h", "y": 1, "yref": "container", "yanchor": "top", "x": 0},
    )
    return styled(figure, height=120 + 30 * len(cells), top=58)


def _add_cell(figure: go.Figure, cell: Cell, metric: str, colour: str, column: int) -> None:
    scores = cell.scores(metric)
    found = _estimate(cell, metric)
    if found is None:
        return
    figure.add_trace(
        go.Scatter(
            x=[100 * score for score in scores.values()],
            y=[cell.label] * len(scores),
            mode="markers",
            marker={"color": colour, "size": 7, "opacity": 0.45},
            text=[f"{cell.label}<br>seed {seed}" for seed in scores],
            hovertemplate="%{text}: %{x:.2f} %<extra></extra>",
            showlegend=False,
        ),
        row=1,
        col=column,
    )
    figure.add_trace(
        go.Scatter(
            x=[found.mean],
            y=[cell.label],
            mode="markers",
            marker={"color": colour, "size": 11, "symbol": "diamond", "line": {"width": 0}},
            error_x={"array": [found.half_width or 0.0], "thickness": 1.6, "width": 5},
            customdata=[_hover(cell, metric)],
            hovertemplate="%{customdata}<extra></extra>",
            showlegend=False,
        ),
        row=1,
        col=column,
    )


def add_baselines(
    figure: go.Figure,
    baselines: Sequence[Row],
    metric: str,
    *,
    row: int,
    col: int,
    category: str | None = None,
) -> None:
    """Reference lines of the untrained encoder and of raw pixels.

    Vertical where `category`, a value of the other axis, is given; else horizontal.
    """
    for baseline in baselines:
        mean = baseline.mean(metric)
        if mean is None:
            continue
        score = 100 * mean
        place = {"x0": 0, "x1": 1, "xref": "x domain", "y0": score, "y1": score}
        if category is not None:
            place = {"x0": score, "x1": score, "y0": 0, "y1": 1, "yref": "y domain"}
        dash = BASELINE_DASHES.get(baseline.label, "dashdot")
        line = {"color": MUTED, "width": 1.3, "dash": dash}
        figure.add_shape({"type": "line", "line": line, **place}, row=row, col=col)
        # An unseen point: the axis leaves room for the line, which then tells its value.
        figure.add_trace(
            go.Scatter(
                x=[0 if category is None else score],
                y=[score if category is None else category],
                mode="markers",
                marker={"opacity": 0, "size": 14},
                hovertemplate=f"{baseline_name(baseline.label)}: {score:.2f} %<extra></extra>",
                showlegend=False,
            ),
            row=row,
            col=col,
        )


def add_baseline_legend(figure: go.Figure, baselines: Sequence[Row]) -> None:
    """Entries for the reference lines, which have none of their own."""
    for baseline in baselines:
        dash = BASELINE_DASHES.get(baseline.label, "dashdot")
        figure.add_trace(
            go.Scatter(
                x=[None],
                y=[None],
                mode="lines",
                line={"color": MUTED, "width": 1.3, "dash": dash},
                name=baseline_name(baseline.label),
            )
        )


def styled(figure: go.Figure, *, height: int, top: int = 44) -> go.Figure:
    """The look that all figures share. `height` and `top` margin in px."""
    figure.update_layout(
        height=height,
        font={"family": FONT, "size": 13, "color": INK},
        paper_bgcolor="white",
        plot_bgcolor="white",
        margin={"l": 8, "r": 8, "t": top, "b": 8},
        hoverlabel={"bgcolor": "white", "bordercolor": RULE, "font": {"color": INK}},
        hovermode="closest",
    )
    axis = {
        "gridcolor": RULE,
        "zeroline": False,
        "linecolor": RULE,
        "automargin": True,
        "title_font": {"size": 12, "color": MUTED},
        "title_standoff": 8,
        "tickfont": {"size": 12},
    }
    figure.update_xaxes(**axis)
    figure.update_yaxes(**axis)
    figure.update_annotations(font={"size": 13, "color": INK})
    return figure


def _estimate(cell: Cell | None, metric: str) -> Estimate | None:
    """Of a cell's scores, in percent."""
    return estimate([100 * v for v in cell.scores(metric).values()]) if cell else None


def _short(found: Estimate) -> str:
    return f"{found.mean:.1f}"


def _hover(cell: Cell | None, metric: str) -> str:
    found = _estimate(cell, metric)
    if cell is None or found is None:
        return ""
    lines = [
        f"<b>{cell.label}</b>",
        f"{metric_name(metric)}: {found.mean:.2f} %",
        f"n = {found.n} seed{'s' if found.n > 1 else ''}",
    ]
    if found.low is not None and found.high is not None:
        lines.append(f"95 % interval {found.low:.2f} to {found.high:.2f} %")
    if cell.ratio != NO_RATIO and cell.ratio_realised is not None:
        lines.append(f"ratio asked {cell.ratio}, realised {cell.ratio_realised:.4f}")
    if cell.unfinished:
        lines.append(f"not finished: {cell.unfinished}")
    return "<br>".join(lines)
