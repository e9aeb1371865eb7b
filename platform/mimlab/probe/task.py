"""Probes as tasks: they read an export and write results, and share nothing with training."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict
from timm.models import VisionTransformer

from mimlab.data.manifest import DataSet
from mimlab.probe.due import AnyProbe
from mimlab.probe.evaluate import ProbeData, features_of, record_of
from mimlab.probe.features import Encode, encoder_of, raw_pixels
from mimlab.spec.study import TrialSpec, trial_spec
from mimlab.storage.folders import SubmissionFolder, TrialFolder
from mimlab.storage.records import ProbeRecord
from mimlab.storage.store import Store
from mimlab.train.build import build_objective
from mimlab.train.export import load_encoder, read_card

RANDOM_INIT = "random-init"
RAW_PIXELS = "raw-pixels"


def probe_file(name: str, step: int) -> str:
    return f"probes/{name}-{step:09d}.json"


@dataclass(frozen=True)
class Subject:
    """What is probed, and under what name."""

    model: VisionTransformer | None
    """None: the raw pixels."""
    encoder_hash: str
    step: int = 0
    epoch: float = 0.0
    prefix: str = "probe"
    """Of the metric keys."""


class ProbeOrder(BaseModel):
    """What a probe task is told besides what to probe."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    storage: str
    spec: dict[str, Any]
    """`TrialSpec` in JSON form, as the submission that runs the trial has it."""
    data: str
    threads: int
    use_gpu: bool
    """Probes take no GPU of their own: they share that of a trial."""

    def device(self) -> torch.device:
        """A GPU, not always the first one, where the study uses GPUs."""
        if not (self.use_gpu and torch.cuda.is_available()):
            return torch.device("cpu")
        return torch.device("cuda", os.getpid() % torch.cuda.device_count())


def probe_export(order: dict, trial_id: str, step: int, names: list[str]) -> None:
    """Run the probes `names` on the export of `step` and write one record for each.

    `order` is a `ProbeOrder` in JSON form. Raises ValueError if the export is missing or corrupt.
    """
    told = ProbeOrder.model_validate(order)
    trial = TrialFolder(Store(told.storage), trial_id)
    spec = trial_spec(told.spec)
    card = read_card(trial, step)
    if card is None:
        raise ValueError(f"trial {trial_id} has no complete export of step {step}")
    subject = Subject(load_encoder(trial, card), card.weights_sha256, step, card.epoch)
    probes = [probe for probe in spec.probes if probe.name in names]
    for record in _probe(told, spec, probes, subject):
        trial.store.write_record(trial.file(probe_file(record.probe, step)), record)


def probe_baselines(order: dict, submission_id: str) -> None:
    """What an untrained encoder and raw pixels give under the same probes: the floor to beat.

    `order` is a `ProbeOrder` in JSON form; the encoder has its trial's random weights, also where
    the trial starts from others.
    """
    told = ProbeOrder.model_validate(order)
    submission = SubmissionFolder(Store(told.storage), submission_id)
    spec = trial_spec(told.spec)
    untrained = build_objective(spec).backbone.vit.eval()
    for name, model in ((RANDOM_INIT, untrained), (RAW_PIXELS, None)):
        subject = Subject(model, name, prefix=f"baseline/{name}")
        for record in _probe(told, spec, list(spec.probes), subject):
            path = submission.file(f"baselines/{name}-{record.probe}.json")
            submission.store.write_record(path, record)


def _probe(
    told: ProbeOrder, spec: TrialSpec, probes: list[AnyProbe], subject: Subject
) -> list[ProbeRecord]:
    """Probes that read the same images share one pass over them."""
    torch.set_num_threads(told.threads)
    device = told.device()
    source = ProbeData(DataSet.open(told.data), spec.data.splits, spec.data.image_size)
    records = []
    for max_fit in dict.fromkeys(probe.max_fit for probe in probes):
        group = [probe for probe in probes if probe.max_fit == max_fit]
        encodes = {probe.pool: _encode(subject, probe, device) for probe in group}
        features = features_of(
            source, encodes, max_fit=max_fit, device=device, threads=told.threads
        )
        records += [
            record_of(
                probe,
                features[probe.pool],
                source,
                step=subject.step,
                epoch=subject.epoch,
                encoder_hash=subject.encoder_hash,
                prefix=subject.prefix,
                watch=spec.collapse,
            )
            for probe in group
        ]
    return records


def _encode(subject: Subject, probe: AnyProbe, device: torch.device) -> Encode:
    if subject.model is None:
        return raw_pixels()
    return encoder_of(subject.model.to(device), probe.pool)
