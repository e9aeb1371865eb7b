"""What the files of a submission and a trial hold. Every time is for people; order is by counters.

<storage>/submissions/<submission id>/
    submission.json     SubmissionRecord
    study.yaml          the file as it was submitted
    trials.json         TrialsRecord; an adaptive search adds to it
    space.json          SpaceRecord, of an adaptive search
    code.zip            the packages that run it
    baselines/*.json    ProbeRecord of the random-initialised encoder and of raw pixels
    lease/000001.json   LeaseRecord, one file per fencing number; the highest one holds
    mlflow.json         MlflowLink of the parent run
<storage>/trials/<trial id>/
    trial.json          TrialRecord
    status.json         StatusRecord
    owner.json          OwnerRecord
    journal/000000001.jsonl     JournalPoint per line; named by the first line's `seq`
    checkpoints/step_000000100/ checkpoint, committed by its manifest.json
    exports/step_000000100/     encoder.safetensors + encoder.json, committed by encoder.json
    probes/knn-000000100.json   ProbeRecord
    boards/000000100.png
    mlflow.json         MlflowLink of the child run
    log.jsonl           structured log, a JSON object per line; in a bucket a folder, an object each
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

TrialState = Literal[
    "pending",
    "running",
    "probing",
    "finished",
    "pruned",
    "stopped",
    "preempted",
    "failed",
    "diverged",
]
"""`finished` and `pruned` need nothing more; `stopped`, `preempted` and `pending` can go on;
`failed` and `diverged` go on only when asked to. `running` and `probing` hold only with a fresh
heartbeat."""

DONE: frozenset[TrialState] = frozenset({"finished", "pruned"})
RESTARTED: frozenset[TrialState] = frozenset({"failed", "diverged"})
"""States that go on only when asked to."""


class Record(BaseModel):
    """Base of everything that is written as JSON."""

    # A gradient norm may be infinite (fp16 looks for its scale so); JSON has no word for that.
    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, ser_json_inf_nan="constants"
    )

    def to_bytes(self) -> bytes:
        return self.model_dump_json(indent=1).encode() + b"\n"


class SubmissionRecord(Record):
    """One launch of a study."""

    id: str
    study: str
    question: str
    study_hash: str
    """Hash of the resolved study: the same file continues its unfinished submission."""
    study_file: str
    options: list[str] = []
    """How the file was changed on the command line: `--preset …`, `--set …`."""
    trial_ids: list[str]
    """Those that it was made with."""
    created: str
    """ISO 8601, UTC."""
    user: str
    host: str
    code_fingerprint: str
    tracking_uri: str
    environment: dict[str, str]
    """Python, packages, git commit and hardware, flat."""


class TrialRecord(Record):
    """One point of a study with one seed."""

    id: str
    study: str
    seed: int
    point: dict[str, str | int | float | bool | None]
    """The values of the study's axes at this trial, by dotted path; scalars only."""
    resolved: dict
    """The whole resolved configuration (`mimlab.spec.study.TrialSpec`, JSON form)."""
    budget_asked: dict[str, float] | None = None
    """The study's budget, e.g. `visible_tokens` and how many, where steps took its place."""
    identity: dict[str, str]
    """The keys that make the trial's identity, flat and dotted, as text: MLflow's params."""
    coordinates: dict[str, int | float] = {}
    """Where an adaptive search has it: by axis, the number of the choice or the range's value."""
    parent: str | None = None
    """The trial it was forked from."""


class TrialsRecord(Record):
    """The trials of a submission as its study has them.

    Equal trials of several submissions are one trial, whose folder holds the record of the first;
    what is not part of its identity, such as its probes, may differ.
    """

    trials: list[TrialRecord]


class SpaceRecord(Record):
    """What an adaptive search makes its trials of, as the study file gave it."""

    base: dict[str, Any]
    """The sections of a trial, without defaults; weights to start from by their hash."""
    folder: str
    """Where relative paths begin."""


class StatusRecord(Record):
    """Where a trial stands; `heartbeat` is a counter: stale if it does not move."""

    state: TrialState
    reason: str = ""
    step: int = 0
    total_steps: int = 0
    epoch: float = 0.0
    images_per_s: float = 0.0
    heartbeat: int = 0
    fence: int = 0
    attempt: int = 0
    updated: str = ""


class JournalPoint(Record):
    """One point of a trial's curves."""

    seq: int
    """1, 2, 3, … within the trial."""
    time_ms: int
    """Unix milliseconds when it was first written; kept for good."""
    step: int
    metrics: dict[str, float]


class ProbeRecord(Record):
    """The result of one probe of one exported encoder."""

    probe: str
    """Its label: `knn`, `low_shot_1pct`."""
    protocol: str
    """Name and version, e.g. `knn/1`."""
    settings: dict[str, Any]
    """The probe's parameters: a record answers for these only."""
    step: int
    epoch: float
    metrics: dict[str, float]
    """By full metric key, e.g. `probe/knn/top1`."""
    encoder_hash: str
    data_fingerprint: str
    num_fit: int
    num_test: int
    seconds: float
    time_ms: int
    collapse: str = ""
    """Which measure of the features' spread is below its floor, in words."""
    error: str = ""
    """Why the probe gave nothing; `metrics` is then empty."""


class CheckpointManifest(Record):
    """Written last: a checkpoint without it, or whose files do not match it, does not exist."""

    step: int
    epoch: float
    files: dict[str, str]
    """File name → sha256."""
    sizes: dict[str, int]
    fence: int
    code_fingerprint: str
    journal_seq: int
    """The journal's high-water mark when the state was taken."""
    next_batch_hash: str
    """Hash of the sample ids and masks of the step that follows."""


class MlflowLink(Record):
    """Where a submission or a trial is shown in MLflow."""

    tracking_uri: str
    experiment_id: str
    run_id: str


class OwnerRecord(Record):
    """Which submission runs a trial, of all those that it is part of."""

    submission: str


class LeaseRecord(Record):
    """Who drives a submission."""

    fence: int
    host: str
    pid: int
    process_started: float
    """Tells a reused pid from the holder."""
    counter: int
    released: bool = False
