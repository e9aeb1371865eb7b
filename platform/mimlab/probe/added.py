"""A probe that is added to trials that have finished: which of them, and what is still to do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mimlab.data.builtin import resolve_images
from mimlab.data.manifest import DataSet
from mimlab.errors import UserError
from mimlab.export.choice import exported_encoders, last_encoder
from mimlab.probe.base import Probe
from mimlab.probe.config import metric_of
from mimlab.probe.due import Reads, answers, reads_of, settings_of, unanswered
from mimlab.probe.task import ProbeOrder, missing_baselines
from mimlab.spec.study import trial_spec
from mimlab.storage.folders import SubmissionFolder, TrialFolder
from mimlab.storage.ownership import find_named, owner_of, submission_of
from mimlab.storage.records import DONE, TrialRecord
from mimlab.storage.store import Store
from mimlab_objectives.backbones.vit import VitBackbone
from mimlab_objectives.shapes_only import shapes_only


@dataclass(frozen=True)
class Chosen:
    """The trials that are meant, and the submission that shows them."""

    submission: SubmissionFolder
    trials: list[TrialFolder]
    """Those that have finished, or were pruned."""
    unfinished: list[TrialFolder]

    def owners(self) -> list[SubmissionFolder]:
        """The submissions whose leases keep others from writing to the trials and baselines."""
        ids = [self.submission.id, *filter(None, map(owner_of, self.trials))]
        return [SubmissionFolder(self.submission.store, name) for name in dict.fromkeys(ids)]


@dataclass(frozen=True)
class AddedWork:
    """What a probe still has to do for one trial."""

    trial: TrialFolder
    order: ProbeOrder
    steps: list[int]
    """Exports without a result of it."""


def choose(store: Store, name: str) -> Chosen:
    """The trial called `name`, or all trials of a submission or of a study's latest one.

    Raises UserError if there is none of that name, or if none has finished.
    """
    if name in store.list("trials"):
        trial = TrialFolder(store, name)
        if trial.status().state not in DONE:
            raise UserError(_unfinished(trial))
        return Chosen(submission_of(trial), [trial], [])
    submission = find_named(store, name)
    trials = submission.trials()
    done = [trial for trial in trials if trial.status().state in DONE]
    if not done:
        raise UserError(f"submission {submission.id}: none of its trials has finished yet")
    return Chosen(submission, done, [trial for trial in trials if trial not in done])


def work_of(
    chosen: Chosen, probe: Probe, *, all_steps: bool, threads: int, use_gpu: bool
) -> list[AddedWork]:
    """The work of each trial, those that have nothing left to do included.

    Of the last export, or with `all_steps` of every one that is still there. Raises UserError if a
    trial has no export any more, its data have changed, its encoder has not what the probe reads,
    or the probe has a result with other settings: both would write the same metric.
    """
    records = {record.id: record for record in chosen.submission.trial_records()}
    data: dict[str, DataSet] = {}
    work = []
    for trial in chosen.trials:
        last = last_encoder(trial).step
        steps = list(exported_encoders(trial)) if all_steps else [last]
        record = records[trial.id]
        images = record.resolved["data"]["images"]
        if images not in data:
            data[images] = DataSet.open(resolve_images(images, trial.store.scratch("data")))
        spec = _spec(record, probe, data[images])
        reads = reads_of(trial_spec(spec))
        _refuse_other_settings(trial, probe, reads)
        missing = unanswered({step: [probe] for step in steps}, trial.probes(), reads)
        order = ProbeOrder(
            storage=str(trial.store.root),
            spec=spec,
            data=str(data[images].root),
            threads=threads,
            use_gpu=use_gpu,
        )
        work.append(AddedWork(trial, order, sorted(missing)))
    return work


def baselines_of(chosen: Chosen, probe: Probe, *, threads: int, use_gpu: bool) -> ProbeOrder | None:
    """The order to probe the submission's baselines, too, of its first trial; None where their
    results are there already. Raises UserError as `work_of` does."""
    store, record = chosen.submission.store, chosen.submission.trial_records()[0]
    data = DataSet.open(resolve_images(record.resolved["data"]["images"], store.scratch("data")))
    resolved = _spec(record, probe, data)
    spec = trial_spec(resolved)
    if not missing_baselines(chosen.submission, spec.probes, reads_of(spec)):
        return None
    return ProbeOrder(
        storage=str(store.root),
        spec=resolved,
        data=str(data.root),
        threads=threads,
        use_gpu=use_gpu,
    )


def _unfinished(trial: TrialFolder) -> str:
    status, study = trial.status(), trial.record().study
    return (
        f"trial {trial.id} is {status.state} at step {status.step}; a probe is added to trials "
        f"that have finished: `mimlab resume {study!r}` goes on"
    )


def _spec(record: TrialRecord, probe: Probe, data: DataSet) -> dict[str, Any]:
    """The trial's configuration with this probe alone, once it is known that both fit."""
    known = record.identity.get("data.fingerprint")
    if known != data.fingerprint:
        raise UserError(
            f"{data.root}: the images have changed since trial {record.id} was trained on them"
        )
    spec = trial_spec(record.resolved)
    if probe.label_maps is None and not data.classes:
        raise UserError(f"{data.root}: no image has a label, so there is nothing to probe")
    if probe.label_maps is not None and probe.label_maps not in spec.data.sidecars:
        raise UserError(
            f"trial {record.id}: {probe.label} reads label maps, and its study names none; add the "
            f"probe to the study, with `data: {{sidecars: {{{probe.label_maps}: FOLDER}}}}`, and "
            "run it again: what has finished is not trained anew"
        )
    with shapes_only():
        prefix = VitBackbone(spec.backbone, spec.data.image_size).num_prefix_tokens
    if probe.pooling == "cls" and prefix == 0:
        raise UserError(
            f"--set probe.pool=cls: {spec.backbone.name} has no class token; use probe.pool=mean"
        )
    return record.resolved | {"probes": [probe.model_dump(mode="json")]}


def _refuse_other_settings(trial: TrialFolder, probe: Probe, reads: Reads) -> None:
    asked = {"protocol": probe.protocol} | settings_of(probe, reads)
    for record in trial.probes():
        if record.probe != probe.label or record.error or answers(record, probe, reads):
            continue
        found = {"protocol": record.protocol} | record.settings
        differing = [
            f"{key} {found.get(key)} there, {asked.get(key)} here"
            for key in sorted(asked.keys() | found.keys())
            if found.get(key) != asked.get(key)
        ]
        raise UserError(
            f"trial {trial.id} has a result of {probe.label} at step {record.step} with other "
            f"settings ({', '.join(differing)}); both would write {metric_of(probe)}: repeat it "
            "with those"
        )
