"""Ray tasks of probes: they read an export and write results, and share nothing with training."""

from __future__ import annotations

from pathlib import Path

import torch
from timm.models import VisionTransformer

from mimlab.data.manifest import DataSet
from mimlab.probe.due import AnyProbe
from mimlab.probe.evaluate import ProbeData, features_of, records_of
from mimlab.probe.features import Encode, encoder_of, raw_pixels
from mimlab.spec.study import TrialSpec, trial_spec
from mimlab.storage.folders import SubmissionFolder, TrialFolder
from mimlab.storage.records import ProbeRecord
from mimlab.storage.store import Store
from mimlab.train.build import build_objective
from mimlab.train.export import load_encoder, read_card
from mimlab_objectives.backbones.vit import VitBackbone

RANDOM_INIT = "random-init"
RAW_PIXELS = "raw-pixels"


def probe_file(name: str, step: int) -> str:
    return f"probes/{name}-{step:09d}.json"


def probe_export(
    storage: str, trial_id: str, step: int, names: list[str], data: str, threads: int
) -> None:
    """Run the probes `names` on the export of `step` and write one record for each.

    Raises ValueError if the export is missing or corrupt.
    """
    trial = TrialFolder(Store(storage), trial_id)
    spec = trial_spec(trial.record().resolved)
    card = read_card(trial, step)
    if card is None:
        raise ValueError(f"trial {trial_id} has no complete export of step {step}")
    model = load_encoder(trial, card)
    probes = [probe for probe in spec.probes if probe.name in names]
    records = _run(
        spec,
        probes,
        model,
        data,
        threads=threads,
        step=step,
        epoch=card.epoch,
        encoder_hash=card.weights_sha256,
    )
    for record in records:
        trial.store.write_record(trial.file(probe_file(record.probe, step)), record)


def probe_baselines(
    storage: str, submission_id: str, trial_id: str, data: str, threads: int
) -> None:
    """What an untrained encoder and raw pixels give under the same probes: the floor to beat.

    The encoder is the one that `trial_id` started from.
    """
    submission = SubmissionFolder(Store(storage), submission_id)
    spec = trial_spec(TrialFolder(submission.store, trial_id).record().resolved)
    backbone = build_objective(spec).backbone
    assert isinstance(backbone, VitBackbone)
    for name, model in ((RANDOM_INIT, backbone.vit.eval()), (RAW_PIXELS, None)):
        records = _run(
            spec,
            list(spec.probes),
            model,
            data,
            threads=threads,
            step=0,
            epoch=0.0,
            encoder_hash=name,
            prefix=f"baseline/{name}",
        )
        for record in records:
            path = submission.file(f"baselines/{name}-{record.probe}.json")
            submission.store.write_record(path, record)


def _run(
    spec: TrialSpec,
    probes: list[AnyProbe],
    model: VisionTransformer | None,
    data: str,
    *,
    threads: int,
    step: int,
    epoch: float,
    encoder_hash: str,
    prefix: str = "probe",
) -> list[ProbeRecord]:
    """Probes that read the same images share one pass over them."""
    torch.set_num_threads(threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    source = ProbeData(
        DataSet.open(Path(data)),
        spec.data.splits.probe_fit,
        spec.data.splits.probe_test,
        spec.data.image_size,
    )
    records = []
    for max_fit in dict.fromkeys(probe.max_fit for probe in probes):
        group = [probe for probe in probes if probe.max_fit == max_fit]
        encodes: dict[str, Encode] = {}
        for probe in group:
            encodes[probe.pool] = (
                raw_pixels() if model is None else encoder_of(model.to(device), probe.pool)
            )
        features = features_of(source, encodes, max_fit=max_fit, device=device, threads=threads)
        records += records_of(
            group,
            features,
            source,
            step=step,
            epoch=epoch,
            encoder_hash=encoder_hash,
            prefix=prefix,
        )
    return records
