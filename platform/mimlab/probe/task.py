"""Probes as tasks: they read an export and write results, and share nothing with training."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict

from mimlab.data.manifest import DataSet
from mimlab.probe.base import Baseline, Probe
from mimlab.probe.due import Reads, answers, reads_of, unanswered
from mimlab.probe.evaluate import Setting, Subject, TellOf, evaluate_all
from mimlab.probe.given import ProbeData
from mimlab.spec.study import TrialSpec, trial_spec
from mimlab.storage.folders import SubmissionFolder, TrialFolder
from mimlab.storage.patience import WAIT_S
from mimlab.storage.records import ProbeRecord
from mimlab.storage.store import Store
from mimlab.train.build import build_objective
from mimlab.train.export import load_encoder, usable_export
from mimlab.train.log import TrialLog

RANDOM_INIT: Baseline = "random-init"
RAW_PIXELS: Baseline = "raw-pixels"


def probe_file(label: str, step: int) -> str:
    return f"probes/{label}-{step:09d}.json"


def baseline_file(name: str, label: str) -> str:
    """Of the probe called `label` of the baseline `name`, in the submission's folder."""
    return f"baselines/{name}-{label}.json"


def missing_baselines(
    submission: SubmissionFolder, probes: Sequence[Probe], reads: Reads
) -> dict[Baseline, list[Probe]]:
    """Baseline → the probes that have no result of it under the same settings yet."""

    def answered(name: Baseline, probe: Probe) -> bool:
        path = submission.file(baseline_file(name, probe.label))
        record = submission.store.read_record(path, ProbeRecord)
        return record is not None and answers(record, probe, reads)

    missing: dict[Baseline, list[Probe]] = {
        name: [p for p in probes if name in p.baselines and not answered(name, p)]
        for name in (RANDOM_INIT, RAW_PIXELS)
    }
    return {name: probes for name, probes in missing.items() if probes}


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
    wait_s: float = WAIT_S
    """How long storage is waited for that is away or full."""

    def device(self) -> torch.device:
        """A GPU, not always the first one, where the study uses GPUs."""
        if not (self.use_gpu and torch.cuda.is_available()):
            return torch.device("cpu")
        return torch.device("cuda", os.getpid() % torch.cuda.device_count())


def probe_export(order: dict, trial_id: str, step: int, labels: list[str]) -> None:
    """Run the probes called `labels` on the export of `step`; write each one's record at once.

    `order` is a `ProbeOrder` in JSON form. A long probe tells its progress in the trial's log.
    Raises ValueError if the export is corrupt and can no longer be made again.
    """
    told = ProbeOrder.model_validate(order)
    trial = TrialFolder(Store(told.storage).patient(told.wait_s), trial_id)
    # Ray starts a task again whose process died: what it has answered by then stays as it is.
    for record in probe_step(told, trial, step, _still_missing(told, trial, step, labels)):
        trial.store.write_record(trial.file(probe_file(record.probe, step)), record)


def _still_missing(
    told: ProbeOrder, trial: TrialFolder, step: int, labels: Sequence[str]
) -> list[str]:
    spec = trial_spec(told.spec)
    due: dict[int, list[Probe]] = {step: [p for p in spec.probes if p.label in labels]}
    missing = unanswered(due, trial.probes(), reads_of(spec))
    return [probe.label for probe in missing.get(step, [])]


def probe_step(
    told: ProbeOrder, trial: TrialFolder, step: int, labels: Sequence[str]
) -> Iterator[ProbeRecord]:
    """The records of probes of one export, each as soon as there is one. Raises ValueError."""
    spec = trial_spec(told.spec)
    image_size = spec.data.image_size
    card = usable_export(trial, step, backbone=spec.backbone, image_size=image_size)
    model = load_encoder(trial, card).to(told.device())
    subject = Subject(model, card.weights_sha256, step, card.epoch)
    probes = [probe for probe in spec.probes if probe.label in labels]
    log = TrialLog(trial)

    def tell(label: str, said: dict[str, int | float]) -> None:
        log.write("probe progress", {"probe": label, "step": step, **said})

    yield from evaluate_all(probes, subject, _setting(told, spec, tell))


def probe_baselines(order: dict, submission_id: str) -> None:
    """Write what the baselines of a submission give, where that is not known yet.

    `order` is a `ProbeOrder` in JSON form.
    """
    told = ProbeOrder.model_validate(order)
    submission = SubmissionFolder(Store(told.storage).patient(told.wait_s), submission_id)
    for record in baseline_records(told, submission):
        path = submission.file(baseline_file(record.encoder_hash, record.probe))
        submission.store.write_record(path, record)


def baseline_records(told: ProbeOrder, submission: SubmissionFolder) -> Iterator[ProbeRecord]:
    """What an untrained encoder and raw pixels give under the same probes: the floor to beat.

    Those that are missing, each as soon as there is one; `encoder_hash` is the baseline's name. The
    encoder has its trial's random weights, also where the trial starts from others.
    """
    spec = trial_spec(told.spec)
    missing = missing_baselines(submission, spec.probes, reads_of(spec))
    setting = _setting(told, spec, _say_nothing)
    for name, probes in missing.items():
        model = None
        if name == RANDOM_INIT:
            model = build_objective(spec).backbone.vit.eval().to(told.device())
        subject = Subject(model, name, prefix=f"baseline/{name}")
        yield from evaluate_all(probes, subject, setting)


def _say_nothing(label: str, said: dict[str, int | float]) -> None:
    """A submission has no log."""


def _setting(told: ProbeOrder, spec: TrialSpec, tell: TellOf) -> Setting:
    torch.set_num_threads(told.threads)
    data = DataSet.open(told.data)
    splits = spec.data.splits
    source = ProbeData(
        data,
        fit=data.split(splits.probe_fit),
        test=data.split(splits.probe_test),
        image_size=spec.data.image_size,
        augment=spec.data.augment,
        sidecars=spec.data.sidecars,
    )
    return Setting(source, reads_of(spec), spec.collapse, told.device(), told.threads, tell)
