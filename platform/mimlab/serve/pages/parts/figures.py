"""Figures of the pages. The colours of text and grid are the style sheet's, so that they follow
light and dark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import plotly.graph_objects as go
from plotly.colors import sample_colorscale

from mimlab.compare.figures import SCALE
from mimlab.compare.style import FONT, PALETTE, baseline_name, metric_name
from mimlab.serve.reading.models import Curve, HeatMap, Parallel, SeedMean, Value

MARGIN = {"l": 8, "r": 8, "t": 28, "b": 8}
GREY = "#7a8695"
DASHES = ("dot", "dash", "dashdot")
Figure = dict[str, object]
"""In JSON form, as `ui.plotly` takes it fastest."""


def curves(found: Sequence[Curve], labels: Mapping[str, str], cells: Mapping[str, str]) -> Figure:
    """A line for each trial. Trials of one cell (`cells`, by id) share a colour."""
    names = list(dict.fromkeys(cells[curve.trial_id] for curve in found))
    colours = {name: PALETTE[i % len(PALETTE)] for i, name in enumerate(names)}
    several = len({curve.metric for curve in found}) > 1
    figure = go.Figure()
    for i, curve in enumerate(found):
        of_cell = cells[curve.trial_id]
        first = all(cells[other.trial_id] != of_cell for other in found[:i])
        label = labels[curve.trial_id] + (f" · {curve.metric}" if several else "")
        figure.add_trace(
            go.Scatter(
                x=curve.steps,
                y=curve.values,
                mode="lines" if len(curve.steps) > 20 else "lines+markers",
                line={"color": colours[of_cell], "width": 1.6},
                marker={"size": 5},
                name=of_cell,
                legendgroup=of_cell,
                showlegend=first and len(names) > 1,
                hovertemplate=f"<b>{label}</b><br>%{{y:.5g}} at step %{{x:,}}<extra></extra>",
            )
        )
    figure.update_xaxes(title_text="step", rangemode="tozero")
    return _styled(figure, 380, legend=len(names) > 1)


def heat_map(found: HeatMap) -> Figure:
    """Rows × columns of means; a cell says its mean, and on hovering how many trials are in it."""
    hover = [
        [
            "" if mean is None else f"{row}, {column}: {100 * mean:.2f} %<br>{count} trials"
            for column, mean, count in zip(found.columns, means, counts, strict=True)
        ]
        for row, means, counts in zip(found.rows, found.means, found.counts, strict=True)
    ]
    figure = go.Figure(
        go.Heatmap(
            x=found.columns,
            y=found.rows,
            z=[[None if mean is None else 100 * mean for mean in line] for line in found.means],
            customdata=hover,
            hovertemplate="%{customdata}<extra></extra>",
            texttemplate="%{z:.1f}",
            hoverongaps=False,
            colorscale=SCALE,
            showscale=False,
            xgap=3,
            ygap=3,
        )
    )
    figure.update_xaxes(type="category", title_text=found.x, showgrid=False)
    figure.update_yaxes(type="category", title_text=found.y, autorange="reversed", showgrid=False)
    return _styled(figure, 120 + 56 * len(found.rows))


def parallel(found: Parallel) -> Figure:
    """A line for each trial from axis to axis, its colour the score."""
    names = [*(axis.removeprefix("masking.") for axis in found.axes), metric_name(found.metric)]
    places = [_places([line[i] for line in found.lines]) for i in range(len(names))]
    scores = places[-1]
    figure = go.Figure()
    for line, trial_id in zip(found.lines, found.trial_ids, strict=True):
        height = scores[_text(line[-1])]
        said = "<br>".join(
            f"{name}: {_text(value)}" for name, value in zip(names, line, strict=True)
        )
        figure.add_trace(
            go.Scatter(
                x=list(range(len(names))),
                y=[places[i][_text(value)] for i, value in enumerate(line)],
                mode="lines+markers",
                line={"color": _colour(height), "width": 2},
                hovertemplate=f"<b>{trial_id}</b><br>{said}<extra></extra>",
                showlegend=False,
            )
        )
    for i, of_axis in enumerate(places):
        shown = of_axis if i < len(names) - 1 else _ends(of_axis)
        for text, height in shown.items():
            figure.add_annotation(
                x=i,
                y=height,
                text=text,
                showarrow=False,
                xanchor="left",
                xshift=8,
                font_size=12,
                bgcolor="white",
            )
    figure.update_xaxes(
        tickvals=list(range(len(names))), ticktext=names, range=[-0.2, len(names) - 0.5]
    )
    figure.update_yaxes(visible=False, range=[-0.08, 1.08])
    return _styled(figure, 380)


def seed_means(
    found: Sequence[SeedMean], metric: str, baselines: Mapping[str, Mapping[str, float]]
) -> Figure:
    """Every seed, the mean with its 95 % interval, and the baselines as lines."""
    figure = go.Figure()
    names = list(dict.fromkeys(one.masking for one in found))
    for one in found:
        colour = PALETTE[names.index(one.masking) % len(PALETTE)]
        unfinished = f"<br>{one.unfinished} not finished" if one.unfinished else ""
        width = "" if one.half_width is None else f" ± {100 * one.half_width:.2f}"
        figure.add_trace(
            go.Scatter(
                x=[100 * score for score in one.scores.values()],
                y=[one.label] * len(one.scores),
                mode="markers",
                marker={"color": colour, "size": 7, "opacity": 0.45},
                text=[f"seed {seed}" for seed in one.scores],
                hovertemplate=f"{one.label}, %{{text}}: %{{x:.2f}} %<extra></extra>",
                showlegend=False,
            )
        )
        figure.add_trace(
            go.Scatter(
                x=[100 * one.mean],
                y=[one.label],
                mode="markers",
                marker={"color": colour, "size": 11, "symbol": "diamond"},
                error_x={"array": [100 * (one.half_width or 0.0)], "thickness": 1.6, "width": 5},
                hovertemplate=(
                    f"<b>{one.label}</b><br>{100 * one.mean:.2f}{width} %, "
                    f"n = {len(one.scores)}{unfinished}<extra></extra>"
                ),
                showlegend=False,
            )
        )
    lines = [label for label, scores in baselines.items() if metric in scores]
    for label, dash in zip(lines, DASHES, strict=False):
        place = 100 * baselines[label][metric]
        name = baseline_name(label)
        figure.add_vline(x=place, line={"color": GREY, "width": 1.3, "dash": dash})
        figure.add_trace(
            go.Scatter(
                x=[place],
                y=[found[0].label] if found else [None],
                mode="lines",
                line={"color": GREY, "width": 1.3, "dash": dash},
                name=f"{name} {place:.1f} %",
            )
        )
    figure.update_xaxes(title_text=f"{metric_name(metric)} (%)")
    figure.update_yaxes(type="category", autorange="reversed")
    return _styled(figure, 120 + 30 * len(found), legend=bool(lines))


def _places(values: Sequence[Value]) -> dict[str, float]:
    """Heights from 0 to 1: of numbers in proportion, else evenly in the order of the study."""
    texts = list(dict.fromkeys(_text(value) for value in values))
    numbers = {_text(v): float(v) for v in values if isinstance(v, int | float)}
    if len(numbers) == len(texts):
        low, high = min(numbers.values()), max(numbers.values())
        return {text: (numbers[text] - low) / ((high - low) or 1.0) for text in texts}
    return {text: i / max(1, len(texts) - 1) for i, text in enumerate(texts)}


def _ends(places: Mapping[str, float]) -> dict[str, float]:
    """The lowest and the highest of them: scores are too many to be written side by side."""
    ordered = sorted(places, key=lambda text: places[text])
    return {text: places[text] for text in (ordered[0], ordered[-1])} if ordered else {}


def _text(value: Value) -> str:
    if value is None:
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _colour(height: float) -> str:
    # Three hues that stand out from a light page and from a dark one.
    return str(sample_colorscale(["#b88a12", "#2a9d8f", "#3f7fc0"], [height])[0])


def _styled(figure: go.Figure, height: int, *, legend: bool = False) -> Figure:
    figure.update_layout(
        height=height + (24 if legend else 0),
        autosize=True,
        font={"family": FONT, "size": 13},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        margin=MARGIN,
        hovermode="closest",
        showlegend=legend,
        legend={"orientation": "h", "y": 1, "yref": "container", "yanchor": "top", "x": 0},
        template="none",
    )
    for update in (figure.update_xaxes, figure.update_yaxes):
        update(
            automargin=True,
            zeroline=False,
            gridcolor="#d5dae1",
            title_standoff=8,
            title_font={"size": 12},
        )
    found = figure.to_plotly_json()
    found["config"] = {"responsive": True, "displaylogo": False, "displayModeBar": False}
    return found
