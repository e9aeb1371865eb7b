"""A study with nothing left to decide: what is hashed, recorded and run.

Paths that a study writes are relative to its file, so that a study and its data move together.
Results go to `runs` in the working folder, where one expects the output of a command.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

from mimlab.spec.paths import absolute, absolute_init
from mimlab.spec.study import REGISTRIES, DataConfig, Decode, Part, Resources, Study, TrialSpec
from mimlab.storage.remote_path import is_uri
from mimlab_objectives.backbones.vit import BackboneParams
from mimlab_objectives.registry import Params

TRACKING_FILE = "mlflow.db"
"""Name of the SQLite file that holds MLflow's tables, within the storage folder."""

TRACKING_VARIABLE = "MLFLOW_TRACKING_URI"
"""MLflow's own: where a cluster, or a user, tells every study that does not say otherwise."""

CORES_OF_A_GPU = 4
"""Cores for each GPU below which other cores decode; one decodes some 600 JPEGs a second."""


def resolved(study: Study, folder: Path) -> Study:
    """The study with absolute paths, and with storage and tracking decided."""
    storage = absolute("runs", Path.cwd())
    if study.storage is not None:
        storage = absolute(study.storage, folder)
    uri = study.tracking.uri or os.environ.get(TRACKING_VARIABLE) or None
    if uri is None and not is_uri(storage):
        uri = f"sqlite:///{storage}/{TRACKING_FILE}"
    update = {
        "data": resolved_data(study.data, folder, study.resources),
        "backbone": resolved_backbone(study.backbone, folder),
        **resolved_parts(study, folder),
        "storage": storage,
        "tracking": study.tracking.model_copy(update={"uri": uri}),
    }
    return study.model_copy(update=update)


def resolved_data(data: DataConfig, folder: Path, resources: Resources) -> DataConfig:
    """The section with absolute paths, and with a place where images are decoded."""
    decode = _decode(resources) if data.decode == "auto" else data.decode
    update = {
        "images": absolute(data.images, folder),
        "sidecars": {name: absolute(where, folder) for name, where in data.sidecars.items()},
        "tokens": None if data.tokens is None else absolute(data.tokens, folder),
        "decode": decode,
    }
    return data.model_copy(update=update)


def _decode(resources: Resources) -> Decode:
    """A GPU takes more images a second than a few cores decode; a CPU that trains does not."""
    few = resources.cpus_per_worker < CORES_OF_A_GPU * resources.gpus_per_worker
    return "tasks" if few else "worker"


def resolved_backbone(backbone: BackboneParams, folder: Path) -> BackboneParams:
    """The section with an absolute path; its content is looked at when the study is planned."""
    return backbone.model_copy(update={"init": absolute_init(backbone.init, folder)})


def resolved_parts(study: Study | TrialSpec, folder: Path) -> dict[str, Params]:
    """The sections that name a registered part, which knows itself what is to be decided."""
    parts: dict[str, Part] = {section: getattr(study, section) for section in REGISTRIES}
    return {
        section: part.resolved(lambda text: absolute(text, folder))
        for section, part in parts.items()
    }


def study_hash(study: Study) -> str:
    """Hash of what a resolved study runs.

    Presets are applied by then, or not in use; resources change no result, so that a submission
    goes on with others, e.g. a raised limit.
    """
    return sha256_of(study.model_dump(mode="json", exclude={"presets", "resources"}))


def sha256_of(content: object) -> str:
    """Hexadecimal hash of JSON with sorted keys."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
