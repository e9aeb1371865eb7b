"""The views in which MLflow opens a study: its maskings compared, and its trials."""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass

from mimlab.probe.labels import label_of, metric_key
from mimlab.storage.records import SubmissionRecord, TrialRecord
from mimlab.track import labels, tags
from mimlab.track.boards import KEY as BOARD
from mimlab.track.shared_view import (
    AnyChart,
    Axis,
    BarChart,
    Grouping,
    GroupKey,
    ImageChart,
    LineChart,
    PageState,
    ParallelChart,
    ScatterChart,
    Section,
    column,
)

MASKINGS = "mimlab-maskings"
TRIALS = "mimlab-trials"
"""Keys of the two views: one of each in an experiment, on its latest submission."""

MOST = 6
"""Axes, and probes, that the views name: an experiment's tag holds 5,000 characters."""
ALL_SHOWN = 60
"""More trials than that draw slowly; the page then shows the first 20."""

REALISED, IMAGES, LOSS = "mask/ratio_realised", "train/images", "train/loss"
PROBES, MASKS, TRAINING, PICTURES = "Probes", "Masks", "Training", "Boards"


@dataclass(frozen=True)
class Compared:
    """What the views show of a submission."""

    submission_id: str
    axes: tuple[str, ...]
    """Parameters that the study varies."""
    shared_axes: tuple[str, ...]
    """Those that every trial has: a chart of parallel coordinates leaves out trials without one."""
    probes: tuple[str, ...]
    """Metric keys, in the order of the study's probes."""
    num_trials: int
    board_step: int = 0
    """Whose boards are shown first."""


def compared(
    submission: SubmissionRecord, trials: Sequence[TrialRecord], boards: Sequence[Set[int]] = ()
) -> Compared:
    """What there is to compare in a submission; `boards`: of each trial's run, by their steps."""
    points = [trial.point for trial in trials]
    varied = dict.fromkeys(key for trial in trials for key in trial.point if key in trial.identity)
    axes = {axis: labels.name_key(axis) for axis in varied if axis != "seed"}
    shared = [axes[axis] for axis in axes if all(axis in point for point in points)]
    probes = dict.fromkeys(
        metric_key(label_of(probe["name"], probe.get("fraction")))
        for trial in trials
        for probe in trial.resolved.get("probes", ())
    )
    return Compared(
        submission_id=submission.id,
        axes=tuple(axes.values())[:MOST],
        shared_axes=tuple(shared)[:MOST],
        probes=tuple(probes)[:MOST],
        num_trials=len(trials),
        board_step=_last_common([steps for steps in boards if steps]),
    )


def _last_common(boards: Sequence[Set[int]]) -> int:
    """The last step of which all have a board, else of which any has one; 0 where none has."""
    common = set.intersection(*map(set, boards)) if boards else set()
    return max(common or set().union(*boards), default=0)


def maskings_view(what: Compared) -> PageState:
    """Means over seeds: a line, bar or point for each point of the study."""
    charts: list[AnyChart] = []
    for key in what.probes:
        charts.append(BarChart(uuid=f"bar {key}", metric_section_id=PROBES, metric_key=key))
        charts.append(_line(f"line {key}", PROBES, key))
    charts += [_realised(key) for key in what.probes[:1]]
    charts.append(BarChart(uuid=REALISED, metric_section_id=MASKS, metric_key=REALISED))
    charts.append(_line(LOSS, TRAINING, LOSS))
    speed = "train/images_per_s"
    charts.append(BarChart(uuid=speed, metric_section_id=TRAINING, metric_key=speed))
    key = GroupKey(mode="tag", group_by_data=tags.CELL)
    return _page(what, charts, [PROBES, MASKS, TRAINING], Grouping(group_by_keys=(key,)))


def trials_view(what: Compared) -> PageState:
    """Every trial by itself: its axes and results in columns, its boards and curves as charts."""
    charts: list[AnyChart] = []
    if what.shared_axes and what.probes:
        charts.append(
            ParallelChart(
                uuid="parallel",
                metric_section_id=PROBES,
                selected_params=what.shared_axes,
                selected_metrics=what.probes,
            )
        )
    charts += [_line(f"line {key}", PROBES, key) for key in what.probes]
    charts.append(
        ImageChart(
            uuid=BOARD,
            metric_section_id=PICTURES,
            image_keys=(BOARD,),
            step=what.board_step,
        )
    )
    charts.append(_line(LOSS, TRAINING, LOSS))
    return _page(what, charts, [PICTURES, PROBES, TRAINING], None)


def _page(
    what: Compared, charts: Sequence[AnyChart], sections: Sequence[str], group: Grouping | None
) -> PageState:
    results = [*what.probes, REALISED, IMAGES]
    return PageState(
        search_filter=f"tags.`{tags.SUBMISSIONS}` LIKE '%{what.submission_id}%'",
        order_by_key=column("metrics", what.probes[0]) if what.probes else "attributes.start_time",
        selected_columns=(
            *(column("params", axis) for axis in what.axes),
            *(column("metrics", key) for key in results),
            column("tags", tags.SEED),
            column("tags", tags.STATE),
            column("tags", tags.REASON),
            column("attributes", "Duration"),
        ),
        runs_hidden_mode="SHOW_ALL" if what.num_trials <= ALL_SHOWN else "FIRST_20_RUNS",
        compare_run_charts=tuple(charts),
        compare_run_sections=tuple(Section(uuid=name, name=name) for name in sections),
        group_by=group,
    )


def _line(uuid: str, section: str, key: str) -> LineChart:
    return LineChart(
        uuid=uuid, metric_section_id=section, metric_key=key, selected_metric_keys=(key,)
    )


def _realised(key: str) -> ScatterChart:
    return ScatterChart(
        uuid="realised",
        metric_section_id=MASKS,
        xaxis=Axis(key=REALISED),
        yaxis=Axis(key=key),
    )
