"""A saved view of MLflow's page of runs, in the form that its page keeps in an experiment's tags.

The page of MLflow 3.17 offers each tag `mlflow.sharedViewState.<key>` in its list of views, and
opens the one that `viewStateShareKey=<key>` in its address names. The tag is JSON with `name`,
`createdAt`, `updatedAt` and `state`; `state` is the page's own state, JSON behind `deflate;`, as
zlib and base64 (mlflow/server/js: the modules `ExperimentPageViewState` and `ExperimentSavedViews`
of the built page). What a page of another version does not know, it leaves out.
"""

from __future__ import annotations

import base64
import json
import zlib
from typing import Literal
from urllib.parse import urlencode

from pydantic import AliasGenerator, BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

PREFIX = "mlflow.sharedViewState."
MARK = "deflate;"
WORKFLOW = "machine_learning"
"""The half of the page that has training runs; else it opens in the one for language models."""

Mode = Literal["SHOW_ALL", "FIRST_20_RUNS"]
XAxis = Literal["step", "metric"]


class State(BaseModel):
    """Base: the page spells its keys in camel case."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
        alias_generator=AliasGenerator(serialization_alias=to_camel),
    )


class Section(State):
    """A heading that charts stand under; the page makes one for each prefix of a metric key."""

    uuid: str
    name: str
    display: bool = True
    """Whether it is open."""
    is_reordered: bool = True


class Chart(State):
    """Base of the charts; `uuid` is any text that no other chart of the view has."""

    uuid: str
    metric_section_id: str
    runs_count_to_compare: int = 100
    is_generated: bool = False
    deleted: bool = False


class BarChart(Chart):
    """The last value of a metric, a bar for each run or group."""

    type: Literal["BAR"] = "BAR"
    metric_key: str


class LineChart(Chart):
    """A metric over the step, or over another metric."""

    type: Literal["LINE"] = "LINE"
    metric_key: str
    selected_metric_keys: tuple[str, ...]
    x_axis_key: XAxis = "step"
    selected_x_axis_metric_key: str = ""
    use_global_xaxis_key: bool = False
    use_global_line_smoothing: bool = True
    line_smoothness: int = 0
    x_axis_scale_type: Literal["linear"] = "linear"
    scale_type: Literal["linear", "log"] = "linear"
    y_axis_key: Literal["metric"] = "metric"
    y_axis_expressions: tuple[str, ...] = ()
    ignore_outliers: bool = False
    range: dict[str, float] = {}
    """No limits."""


class Axis(State):
    """What an axis of a scatter plot shows."""

    key: str
    type: Literal["METRIC", "PARAM"] = "METRIC"


class ScatterChart(Chart):
    """A point for each run or group."""

    type: Literal["SCATTER"] = "SCATTER"
    xaxis: Axis
    yaxis: Axis


class ParallelChart(Chart):
    """Parallel coordinates: a line for each run, through its parameters and metrics."""

    type: Literal["PARALLEL"] = "PARALLEL"
    selected_params: tuple[str, ...]
    selected_metrics: tuple[str, ...]
    show_all_runs: bool = True


class ImageChart(Chart):
    """Pictures that runs logged under one key, with a slider over the steps."""

    type: Literal["IMAGE"] = "IMAGE"
    image_keys: tuple[str, ...]
    step: int = 0
    show_run_params: bool = False
    """Whether each picture stands under all parameters of its run."""


AnyChart = BarChart | LineChart | ScatterChart | ParallelChart | ImageChart


class GroupKey(State):
    """What runs of one group have in common."""

    mode: Literal["param", "tag"]
    group_by_data: str


class Grouping(State):
    """Runs that are shown as one."""

    aggregate_function: Literal["average"] = "average"
    group_by_keys: tuple[GroupKey, ...]


class LineConfig(State):
    """What line charts share."""

    x_axis_key: XAxis = "step"
    line_smoothness: int = 0
    selected_x_axis_metric_key: str = ""


class PageState(State):
    """Everything of the page of runs that a link brings with it."""

    search_filter: str
    """In MLflow's search language."""
    order_by_key: str
    order_by_asc: bool = False
    selected_columns: tuple[str, ...]
    """Of `column`."""
    runs_hidden_mode: Mode
    """Which runs the charts show."""
    compare_run_charts: tuple[AnyChart, ...]
    compare_run_sections: tuple[Section, ...]
    group_by: Grouping | None = None
    use_grouped_values_in_charts: bool = True
    hide_empty_charts: bool = True
    is_accordion_reordered: bool = True
    """The sections stay in this order; those that the page adds come after them."""
    global_line_chart_config: LineConfig = LineConfig()


def column(kind: Literal["attributes", "params", "metrics", "tags"], name: str) -> str:
    """A column of the table, as the page names it."""
    return f"{kind}.`{name}`"


def tag_of(name: str, *, created_ms: int, state: PageState) -> str:
    """The value of the view's tag; the same text for the same view."""
    text = state.model_dump_json(by_alias=True)
    packed = MARK + base64.b64encode(zlib.compress(text.encode(), level=9)).decode()
    envelope = {"name": name, "createdAt": created_ms, "updatedAt": created_ms, "state": packed}
    return json.dumps(envelope)


def experiment_link(experiment_id: str) -> str:
    """Address of an experiment, relative to MLflow's page. A browser that is new to MLflow takes
    every experiment for one of another kind, unless its address says of which it is."""
    return f"#/experiments/{experiment_id}/runs?workflowType={WORKFLOW}"


def run_link(experiment_id: str, run_id: str, tab: str = "") -> str:
    """Address of a run, relative to MLflow's page, whose frame is then that of training."""
    return f"#/experiments/{experiment_id}/runs/{run_id}{tab}?workflowType={WORKFLOW}"


def link(experiment_id: str, key: str, *, charts: bool) -> str:
    """Address of a view, relative to MLflow's page: its charts, or its table.

    With any other part of the state in the address, the page would not read the view.
    """
    query = {"viewStateShareKey": key, "workflowType": WORKFLOW}
    query |= {"compareRunsMode": "CHART"} if charts else {}
    return f"#/experiments/{experiment_id}/runs?{urlencode(query)}"
