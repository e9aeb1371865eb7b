"""Which probes are due at which step: a pure function of the study."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mimlab.probe.config import KnnProbe, LinearProbe
from mimlab.storage.records import ProbeRecord
from mimlab.train.schedule import steps_every

AnyProbe = KnnProbe | LinearProbe


def settings_of(probe: AnyProbe) -> dict[str, Any]:
    """The parameters that a probe's result depends on, in JSON form."""
    return probe.model_dump(mode="json", exclude={"name", "every_epochs", "at"})


def unanswered(
    due: dict[int, list[AnyProbe]], records: Sequence[ProbeRecord]
) -> dict[int, list[AnyProbe]]:
    """What of `due` has no record with the same settings yet."""
    answered = [(record.step, record.probe, record.settings) for record in records]
    missing = {
        step: [p for p in probes if (step, p.name, settings_of(p)) not in answered]
        for step, probes in due.items()
    }
    return {step: probes for step, probes in missing.items() if probes}


def due_steps(
    probes: Sequence[AnyProbe], *, num_images: int, batch_size: int, total_steps: int
) -> dict[int, list[AnyProbe]]:
    """Steps done → the probes due there, ascending; every trial's last step has all of them."""
    due: dict[int, list[AnyProbe]] = {}
    for probe in probes:
        steps = steps_every(
            probe.every_epochs, num_images=num_images, batch_size=batch_size, last=total_steps
        )
        for step in sorted(steps | {total_steps}):
            due.setdefault(step, []).append(probe)
    return dict(sorted(due.items()))
