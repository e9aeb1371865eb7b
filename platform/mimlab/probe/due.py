"""Which probes are due at which step, and which of them have no result yet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mimlab.data.manifest import DataSet
from mimlab.data.sidecar import label_fingerprints
from mimlab.data.subset import training_split
from mimlab.probe.base import Probe
from mimlab.spec.study import Splits, TrialSpec
from mimlab.storage.records import ProbeRecord
from mimlab.train.schedule import steps_every, total_steps


@dataclass(frozen=True)
class Reads:
    """What the probes of a trial read besides its encoder."""

    splits: Splits
    label_maps: Mapping[str, str] = field(default_factory=dict)
    """Fingerprints of label maps, by the names of their sidecars."""


def reads_of(spec: TrialSpec) -> Reads:
    """From the manifests of the label maps that probes ask for. Raises UserError."""
    asked = {probe.label_maps for probe in spec.probes}
    places = {name: place for name, place in spec.data.sidecars.items() if name in asked}
    return Reads(spec.data.splits, label_fingerprints(places))


def settings_of(probe: Probe, reads: Reads) -> dict[str, Any]:
    """What a probe's result depends on besides the encoder, in JSON form."""
    own = probe.model_dump(mode="json", exclude={"name", "every_epochs", "at"})
    own |= {"fit_split": reads.splits.probe_fit, "test_split": reads.splits.probe_test}
    if probe.label_maps is not None:
        own["label_maps"] = reads.label_maps[probe.label_maps]
    return own


def answers(record: ProbeRecord, probe: Probe, reads: Reads) -> bool:
    """Whether a record is what this probe would give; a failed one is no answer."""
    return not record.error and _is_of(record, probe, reads)


def asked_for(spec: TrialSpec, records: Sequence[ProbeRecord]) -> list[ProbeRecord]:
    """Those that the probes of a study gave, good or failed: another study may have probed the same
    trial by other settings, whose results compare with nothing here. Raises UserError."""
    reads = reads_of(spec)
    return [r for r in records if any(_is_of(r, probe, reads) for probe in spec.probes)]


def _is_of(record: ProbeRecord, probe: Probe, reads: Reads) -> bool:
    if (record.probe, record.protocol) != (probe.label, probe.protocol):
        return False
    return record.settings == settings_of(probe, reads)


def unanswered(
    due: dict[int, list[Probe]], records: Sequence[ProbeRecord], reads: Reads
) -> dict[int, list[Probe]]:
    """What of `due` has no result under the same protocol and settings yet."""

    def answered(step: int, probe: Probe) -> bool:
        return any(r.step == step and answers(r, probe, reads) for r in records)

    missing = {
        step: [probe for probe in probes if not answered(step, probe)]
        for step, probes in due.items()
    }
    return {step: probes for step, probes in missing.items() if probes}


def due_of(spec: TrialSpec, data: DataSet) -> dict[int, list[Probe]]:
    """Steps done → the probes due there, of a trial on its data."""
    num_images = training_split(data, spec.data.splits.train, spec.data.subset).num_rows
    batch_size = spec.train.batch_size
    return due_steps(
        spec.probes,
        num_images=num_images,
        batch_size=batch_size,
        total_steps=total_steps(spec.train.budget, num_images, batch_size),
    )


def due_steps(
    probes: Sequence[Probe], *, num_images: int, batch_size: int, total_steps: int
) -> dict[int, list[Probe]]:
    """Steps done → the probes due there, ascending; every trial's last step has all of them."""
    due: dict[int, list[Probe]] = {}
    for probe in probes:
        steps = steps_every(
            probe.every_epochs, num_images=num_images, batch_size=batch_size, last=total_steps
        )
        for step in sorted(steps | {total_steps}):
            due.setdefault(step, []).append(probe)
    return dict(sorted(due.items()))
