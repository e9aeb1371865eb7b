"""What is shown of submissions and trials; pages and API give the same."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from mimlab.storage.records import TrialState

ShownState = TrialState | Literal["lost"]
"""`lost`: the record says that it runs, but its heartbeat stands still or its driver is dead."""

Place = Literal["waiting", "started"]
"""Where a submission stands in the queue."""

Value = str | int | float | bool | None


class Shown(BaseModel):
    """Base of everything that is shown."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, ser_json_inf_nan="null"
    )


class SubmissionSummary(Shown):
    """A submission in the list."""

    id: str
    study: str
    question: str
    user: str
    created: str
    """ISO 8601, UTC."""
    state: Literal["running", "pending", "lost", "finished", "stopped", "failed"]
    """`running`: it has a driver. Without one: `finished` where nothing is left to do, `lost` where
    trials were left running, `failed` where all that is left has failed, `pending` where nothing
    was started yet, else `stopped`."""
    driver_alive: bool | None
    """None: not known yet, because the driver is on another machine and was first seen just now."""
    queued: Place | None
    """Whether it waits in the queue, or was started from there and has not been seen to end; None:
    neither."""
    trials: dict[ShownState, int]
    """How many there are in each state."""
    num_trials: int
    """In all, those included that a search has yet to choose."""
    progress: float
    """Of the steps of all trials, 0 to 1."""
    eta_s: float | None
    """Until the last trial has ended, at the present rate; None while nothing runs."""
    hours_spent: float | None
    """Device hours, all resumes included. None: not counted yet, ask again."""
    hours_limit: float | None
    """None: no limit."""
    hours_unit: str
    """`GPU-hours`, or `CPU-hours` where trials train on the CPU."""
    health: list[str]
    """What somebody should look at, in words; empty if nothing."""


class TrialSummary(Shown):
    """A trial in a submission's table."""

    id: str
    label: str
    """Its point of the study and its seed, in short."""
    point: dict[str, Value]
    """The values of the study's axes, by dotted path."""
    seed: int
    cell: str
    """Its point alone, in short: trials that share it differ by their seeds."""
    masking: str
    """The masking's name."""
    ratio: str
    """As asked for: a number, a schedule in short, or `–`."""
    state: ShownState
    paused: bool
    """Whether somebody paused it by itself, so that it waits until it is resumed itself."""
    reason: str
    step: int
    total_steps: int
    epoch: float
    progress: float
    """0 to 1."""
    images_per_s: float
    scores: dict[str, float]
    """What ranks trials by each probe, at its last step, e.g. `probe/knn/top1`."""
    board_steps: list[int]
    """Steps of which there is a board, ascending."""
    has_checkpoint: bool
    """Whether another trial can go on from it."""
    parent: str | None
    """The trial that it was forked from."""
    updated: str
    """When its status was last written; ISO 8601, UTC; empty before."""


class SubmissionDetail(Shown):
    """A submission with its trials."""

    summary: SubmissionSummary
    axes: list[str]
    """Dotted paths that the points of its trials set."""
    metrics: list[str]
    """Metric keys of its probes, in the order of the study."""
    trials: list[TrialSummary]
    """In the order of the study."""
    baselines: dict[str, dict[str, float]]
    """Of the untrained encoder and of raw pixels: label → metric key → score."""
    study_text: str
    """The study file as it was submitted."""
    options: list[str]
    """How it was changed on the command line."""
    mlflow_link: str | None
    """The address of its experiment's page, whose note leads to the comparison; None where it is
    shown nowhere yet, or in a local database."""
    mlflow_problem: str
    """Why that cannot be opened now; empty where it can, or nobody knows yet."""


class CheckpointSummary(Shown):
    """A checkpoint of a trial."""

    step: int
    epoch: float
    num_bytes: int
    differs: list[str]
    """What changed at resumes before it."""


class Difference(Shown):
    """A key in which a trial is unlike another one of its submission."""

    key: str
    """Dotted path."""
    value: str
    """This trial's, as YAML; empty where it has none."""
    others: list[str]
    """The siblings' other values, each once; empty where one has none."""


class Relative(Shown):
    """A trial that this one was forked from, or that was forked from it."""

    id: str
    relation: Literal["parent", "child"]
    submissions: list[str]
    """Submissions that list it."""


class TrialDetail(Shown):
    """Everything about a trial."""

    summary: TrialSummary
    submission: str
    resolved_text: str
    """Its whole configuration, as YAML."""
    differing_lines: list[int]
    """Lines of it, from 0, that say a key in which its siblings are unlike it."""
    differences: list[Difference]
    """Keys in which siblings are unlike it."""
    lineage: list[Relative]
    checkpoints: list[CheckpointSummary]
    """Ascending."""
    log_tail: list[str]
    """The last lines of its log, oldest first; JSON."""
    mlflow_uri: str | None
    """The tracking server's or database's address."""
    mlflow_link: str | None
    """The address of its run's page; None where it is shown nowhere yet, or in a local database."""
    mlflow_problem: str
    """Why that cannot be opened now; empty where it can, or nobody knows yet."""
    differs: list[str]
    """What changed at its resumes, so that its bits are not those of an undisturbed trial."""
    parent_step: int | None
    """Of the parent's checkpoint that it began at."""
    drift: list[str]
    """What differs from its parent: `masking.ratio 0.75 → 0.5`."""


class Curve(Shown):
    """A metric of a trial over its steps."""

    trial_id: str
    metric: str
    steps: list[int]
    values: list[float]
    """A value that is no number is left out."""
    points: int
    """How many there were before thinning."""


class SeedMean(Shown):
    """The mean of one cell over its seeds."""

    label: str
    """What tells it from the other cells."""
    masking: str
    ratio: str
    scores: dict[int, float]
    """Seed → score."""
    mean: float
    half_width: float | None
    """Of the 95 % interval, by Student's t; None of one seed."""
    unfinished: int
    """Trials of it that have not finished."""


class HeatMap(Shown):
    """A metric over two axes; a cell is the mean over everything else."""

    metric: str
    x: str
    y: str
    columns: list[str]
    rows: list[str]
    means: list[list[float | None]]
    """By row, then column."""
    counts: list[list[int]]
    """Trials in each mean."""


class Parallel(Shown):
    """A line for each trial through its axes to its score."""

    metric: str
    axes: list[str]
    lines: list[list[Value]]
    """Values by axis, in order; the last is the score."""
    trial_ids: list[str]
