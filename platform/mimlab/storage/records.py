"""What the files of a submission and a trial hold. Every time is for people; order is by counters.

<storage>/submissions/<submission id>/
    submission.json     SubmissionRecord
    study.yaml          the file as it was submitted
    trials.json         TrialsRecord; an adaptive search adds to it
    space.json          SpaceRecord, of an adaptive search
    code.zip            the packages that run it
    baselines/*.json    ProbeRecord of the random-initialised encoder and of raw pixels
    lease/000001.json   LeaseRecord, one file per fencing number; the highest one holds
    asked/*.json        Asked (`mimlab.storage.asked`): what users want of it
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
    forks/<trial id>.json   ForkRecord (`mimlab.storage.forks`), until that fork has begun
    diverged/000000100.json     DivergenceRecord (`mimlab.train.divergence`)
    mlflow.json         MlflowLink of the child run
    log.jsonl           structured log, a JSON object per line; in a bucket a folder, an object each
<storage>/audit/*.json  AuditRecord (`mimlab.actions.audit`), one an action
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


class StartRecord(Record):
    """What a fork takes from its parent's checkpoint."""

    checkpoint: str
    """Hash of the checkpoint's manifest, which names the hash of its state."""
    takes: Literal["state", "encoder"]
    """Everything that the next step depends on; or the encoder's weights alone, where another
    objective, or one of another shape, is to be trained."""
    step: int
    """The fork's first step."""
    reads_on: bool
    """Whether it reads what the parent would have read next; else from the last epoch's begin."""
    drift: list[str]
    """What differs from the parent: `masking.ratio 0.75 → 0.5`."""

    @property
    def identified(self) -> dict[str, str]:
        """What of it makes another trial."""
        return {"checkpoint": self.checkpoint}


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
    parent_step: int | None = None
    """Of the parent's checkpoint that it starts from."""
    start: StartRecord | None = None
    """What it takes from there; None but for a fork."""

    @property
    def first_images(self) -> float:
        """Images that had been read when its own curves begin."""
        if self.start is None:
            return 0.0
        return float(self.start.step * self.resolved["train"]["batch_size"])


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
    differs: list[str] = []
    """What changed at its resumes, so that its bits are not those of an undisturbed trial."""
    ended: TrialState | None = None
    """How it has ended before it is probed once more, which changes nothing of that."""
    updated: str = ""

    def back(self) -> StatusRecord:
        """The status of a trial that is no longer probed once more."""
        state = self.ended or self.state
        return self.model_copy(update={"state": state, "ended": None})


class JournalPoint(Record):
    """One point of a trial's curves."""

    seq: int
    """1, 2, 3, … within the trial."""
    time_ms: int
    """Unix milliseconds when it was first written; kept for good; never before the last point's."""
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


class Conditions(Record):
    """What the bits of a trial's floating-point sums depend on, besides its configuration."""

    workers: int
    device: str
    """Its kind and name; of a CPU also the instructions that torch chose for it."""
    threads: int
    """Of a worker."""
    precision: str
    tf32: bool
    """Whether float32 products are made of TF32 ones; on GPUs only."""
    deterministic: bool
    """Whether kernels whose sums depend on timing are kept away; on a CPU there are none."""
    packages: dict[str, str]
    """Version of each package that computes or decodes."""


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
    masks_hashed: bool = True
    """Whether the masks are in it: those that follow signals of the network or of the pixels are
    not, and come out the same if weights and samples do."""
    conditions: Conditions | None = None
    """What it was computed on; None where that was not recorded yet."""
    differs: list[str] = []
    """What changed at resumes before it, so that the bits are not those of an undisturbed trial."""


class MlflowLink(Record):
    """Where a submission or a trial is shown in MLflow."""

    tracking_uri: str
    experiment_id: str
    run_id: str


class OwnerRecord(Record):
    """Which submission runs a trial, of all those that it is part of."""

    submission: str
    attempt: int = 0
    """The highest number of those that were begun: only its workers may write. 0: none yet."""
    group: int = 0
    """The same of its groups of workers: those that Ray Train starts again within an attempt."""


class LeaseRecord(Record):
    """Who drives a submission."""

    fence: int
    host: str
    """For people."""
    machine: str
    """`mimlab.storage.machine.machine()`."""
    pid: int
    process_born: int
    """Tells a reused pid from the holder; ticks since the machine's start."""
    counter: int
    released: bool = False
