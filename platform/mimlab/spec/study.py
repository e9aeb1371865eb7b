"""`Study`, the model of a study file, and `TrialSpec`, the model of one trial.

Both are built when they are first asked for, because what `masking:`, `target:` and `objective:`
may hold is what is registered by then.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Annotated, Any, Literal, Union

from pydantic import AfterValidator, ByteSize, Field, create_model, model_validator

from mimlab.data.augment import AugmentConfig
from mimlab.data.subset import Subset
from mimlab.probe.config import CollapseWatch, ProbeConfig, named_once
from mimlab.spec.parts import register_parts
from mimlab.spec.paths import Address, StorageAddress
from mimlab.spec.section import NotIdentity, Section, at_field
from mimlab.spec.sweep import SweepConfig
from mimlab.spec.workers import WorkerRange, Workers
from mimlab.train.config import TrainConfig
from mimlab_objectives.backbones.vit import BackboneParams
from mimlab_objectives.masking.plan import maskings
from mimlab_objectives.objectives.base import objectives
from mimlab_objectives.recipes.base import recipes
from mimlab_objectives.registry import Params, Registry
from mimlab_objectives.targets.base import targets

REGISTRIES: Mapping[str, Registry[Any]] = {
    "objective": objectives,
    "target": targets,
    "masking": maskings,
}
"""Sections that name a registered part, and what there is to name."""


class Part(Params):
    """Parameters of a registered part, and the name that it is registered under."""

    name: str
    """Name of a registered part; `mimlab list` shows them."""


class Splits(Section):
    """Which split of the data serves what."""

    train: str = Field(default="train", min_length=1)
    """Images that the objective trains on."""
    probe_fit: Annotated[str, NotIdentity()] = Field(default="train", min_length=1)
    """Images that probes are fitted on."""
    probe_test: Annotated[str, NotIdentity()] = Field(default="test", min_length=1)
    """Images that probes are scored on."""


PRIOR = "prior"
"""Name of the sidecar whose maps a masking may follow."""

TOKENS = "tokens"
"""Name of the token store among what lies beside the images."""

Decode = Literal["auto", "worker", "tasks"]


def _sidecar_name(name: str) -> str:
    if name == TOKENS:
        raise ValueError("a token store is named by data.tokens, not among the sidecars")
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,39}", name):
        raise ValueError(
            "a sidecar's name is of small letters, digits and _, at most 40, such as prior; "
            f"found {name!r}"
        )
    return name


SidecarName = Annotated[str, AfterValidator(_sidecar_name)]
"""What a masking or a probe knows a sidecar by."""


class DataConfig(Section):
    """What is read."""

    images: Address
    """A shard folder, relative to the study file or a URI, or a built-in data set like `digits`."""
    image_size: int = Field(ge=4)
    """Height and width of a view, in pixels."""
    augment: AugmentConfig = AugmentConfig()
    """Crop and flip of the views."""
    subset: Subset | None = None
    """Trains on a part of the training split: a fraction, a number of images, or class names."""
    decode: Annotated[Decode, NotIdentity()] = "auto"
    """Where JPEGs become pixels: in the train worker's threads, or in Ray Data tasks, which use the
    CPUs of other nodes, too. auto: tasks where a GPU has fewer than four cores of its worker."""
    max_skipped: Annotated[float, NotIdentity()] = Field(default=0.01, ge=0, le=1)
    """Share of the images that may be unreadable at training: each gives way to another, and with
    more of them the trial fails."""
    splits: Splits = Splits()
    """Which split of the data serves what."""
    sidecars: Annotated[dict[SidecarName, Address], NotIdentity()] = Field(default_factory=dict)
    """What lies beside the images, name → folder or URI: `{prior: ../maps}`. Made by
    `mimlab data maps`; its fingerprint, not its place, is part of a trial's identity."""
    tokens: Annotated[Address | None, NotIdentity()] = None
    """A token store, made by `mimlab tokens encode`: a target `tokens` or `features` is then read
    from it instead of being computed. Its fingerprint is part of a trial's identity."""

    @property
    def beside(self) -> dict[str, str]:
        """Places of all that lies beside the images, by name: sidecars, and the token store."""
        return self.sidecars | ({} if self.tokens is None else {TOKENS: self.tokens})


class Resources(Section):
    """What a trial runs on."""

    workers: Workers = 1
    """Processes of one trial, which share each batch: a number, or `{min, max}` for one that
    follows what the cluster has."""
    gpus_per_worker: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    """GPUs of a worker; 0 trains on the CPU."""
    cpus_per_worker: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    """CPU cores of a worker."""
    concurrent_trials: int | None = Field(default=None, ge=1)
    """Most trials at once; null: as many as fit."""
    max_gpu_hours: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    """GPU-hours of all trials, after which they save and stop; raise it to go on."""
    max_cpu_hours: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    """The same in CPU-hours, where trials train on the CPU."""
    max_disk: ByteSize | None = Field(default=None, gt=0)
    """What the trials' files may take, such as `200 GB`: over it, older checkpoints are removed,
    never what a resume, a fork or a probe needs. null: no limit."""
    max_wait_minutes: float = Field(default=20.0, ge=0, allow_inf_nan=False)
    """Longest wait for storage that is full or away, after which a trial stops, to be resumed. With
    several workers below 30: the others wait no longer for one of them."""

    @property
    def wait_s(self) -> float:
        return 60 * self.max_wait_minutes

    @property
    def fewest_workers(self) -> int:
        """That a trial trains with."""
        return self.workers.fewest if isinstance(self.workers, WorkerRange) else self.workers

    @property
    def most_workers(self) -> int:
        """That a trial trains with."""
        return self.workers.most if isinstance(self.workers, WorkerRange) else self.workers

    @model_validator(mode="after")
    def _limit_counts(self) -> Resources:
        gpus = self.gpus_per_worker
        if self.max_gpu_hours is not None and not gpus:
            raise at_field(
                "max_gpu_hours",
                "counts nothing where gpus_per_worker is 0; set max_cpu_hours in its place, "
                "and this to null",
            )
        if self.max_cpu_hours is not None and gpus:
            raise at_field(
                "max_cpu_hours",
                f"counts nothing where gpus_per_worker is {gpus:g}; set max_gpu_hours in its "
                "place, and this to null",
            )
        return self


class Tracking(Section):
    """Where results are shown."""

    uri: str | None = None
    """MLflow's tracking URI; null: `MLFLOW_TRACKING_URI`, or else an SQLite file beside the
    results."""


Probes = Annotated[tuple[ProbeConfig, ...], AfterValidator(named_once)]


class TrialSpec(Section):
    """One trial: everything that a worker needs, nothing left to decide.

    Build one with `trial_spec`, which knows the registered parts.
    """

    recipe: Annotated[str | None, NotIdentity()] = None
    """The paper whose settings lie under the others: a label, since they are all here."""
    data: DataConfig
    """What is read."""
    backbone: BackboneParams
    """The encoder."""
    objective: Part
    """The pretext task."""
    target: Part
    """What is predicted."""
    masking: Part
    """What is hidden."""
    train: TrainConfig
    """How it trains."""
    probes: Annotated[Probes, NotIdentity()] = ()
    """Evaluations of the frozen encoder."""
    collapse: Annotated[CollapseWatch, NotIdentity()] = CollapseWatch()
    """When features count as collapsed."""
    seed: int = Field(ge=0)
    """Of weights, order, views and masks."""


class Study(Section):
    """A study file."""

    study: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._ -]*$", max_length=100)
    """Its name, and that of the MLflow experiment."""
    question: str = ""
    """What the study answers."""
    recipe: str | None = None
    """A paper's objective, target and masking, where the study does not say otherwise;
    `mimlab list recipes` shows them."""
    data: DataConfig
    """What is read."""
    backbone: BackboneParams
    """The encoder."""
    objective: Part
    """The pretext task."""
    target: Part
    """What is predicted."""
    masking: Part
    """What is hidden."""
    train: TrainConfig
    """How each trial trains."""
    probes: Probes = ()
    """Evaluations of the frozen encoder."""
    collapse: CollapseWatch = CollapseWatch()
    """When features count as collapsed."""
    sweep: SweepConfig = SweepConfig()
    """What varies."""
    presets: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """Named overlays of the study: `--preset laptop`."""
    resources: Resources = Resources()
    """What a trial runs on."""
    tracking: Tracking = Tracking()
    """Where results are shown."""
    storage: StorageAddress | None = None
    """Folder of the results, or its `s3://` URI; null: `runs` in the working folder."""


@lru_cache(maxsize=1)
def study_model() -> type[Study]:
    """`Study` with the parameters of every registered part, and the names of all recipes."""
    fields = _part_fields()  # registers the recipes, too
    names: Any = Literal[*recipes]
    recipe: tuple[Any, Any] = (names | None, Study.model_fields["recipe"])
    return create_model("StudyFile", __base__=Study, __doc__=Study.__doc__, **fields, recipe=recipe)


@lru_cache(maxsize=1)
def trial_model() -> type[TrialSpec]:
    """`TrialSpec` with the parameters of every registered part."""
    return create_model(
        "TrialFile", __base__=TrialSpec, __doc__=TrialSpec.__doc__, **_part_fields()
    )


def trial_spec(resolved: Mapping[str, Any]) -> TrialSpec:
    """A trial from its JSON form, as `TrialRecord.resolved` holds it.

    Raises pydantic's ValidationError. Types are taken strictly: `"3"` and `true` are no numbers.
    """
    return trial_model().model_validate_json(json.dumps(resolved), strict=True)


@lru_cache(maxsize=1)
def _part_fields() -> dict[str, Any]:
    register_parts()
    return {
        part: _choice(registry, TrialSpec.model_fields[part])
        for part, registry in REGISTRIES.items()
    }


def _choice(registry: Registry[Any], field: Any) -> tuple[Any, Any]:
    """A field that holds the parameters of one registered part, chosen by its `name`."""
    models = [_named(registry.kind, entry.name, entry.params) for entry in registry.entries()]
    # A discriminator needs two models to choose between.
    discriminator = "name" if len(models) > 1 else None
    field = Field(discriminator=discriminator, description=field.description)
    return Union[tuple(models)], field  # noqa: UP007  built at run time


def _named(kind: str, name: str, params: type[Params]) -> type[Params]:
    if "name" in params.model_fields:
        raise ValueError(f"{kind} {name!r}: a parameter may not be called `name`")
    chosen: dict[str, Any] = {"name": (Literal[name], Field(description=f"The {kind}."))}
    return create_model(f"{kind}_{name}", __base__=(params, Part), __doc__=params.__doc__, **chosen)
