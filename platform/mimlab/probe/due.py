"""Which probes are due at which step: a pure function of the study."""

from __future__ import annotations

from collections.abc import Sequence

from mimlab.probe.config import KnnProbe, LinearProbe
from mimlab.train.schedule import steps_every

AnyProbe = KnnProbe | LinearProbe


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
