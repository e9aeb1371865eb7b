"""Which probes are due at which step: a pure function of the study."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mimlab.probe.base import Probe
from mimlab.spec.study import Splits
from mimlab.storage.records import ProbeRecord
from mimlab.train.schedule import steps_every


def settings_of(probe: Probe, splits: Splits) -> dict[str, Any]:
    """What a probe's result depends on besides the encoder, in JSON form."""
    own = probe.model_dump(mode="json", exclude={"name", "every_epochs", "at"})
    return own | {"fit_split": splits.probe_fit, "test_split": splits.probe_test}


def unanswered(
    due: dict[int, list[Probe]], records: Sequence[ProbeRecord], splits: Splits
) -> dict[int, list[Probe]]:
    """What of `due` has no result with the same settings yet; a failed probe has none."""
    answered = [(r.step, r.probe, r.settings) for r in records if not r.error]
    missing = {
        step: [p for p in probes if (step, p.label, settings_of(p, splits)) not in answered]
        for step, probes in due.items()
    }
    return {step: probes for step, probes in missing.items() if probes}


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
