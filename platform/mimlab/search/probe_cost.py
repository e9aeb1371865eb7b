"""What a probe costs: run as it is, or where it trains for long, only a part of it."""

from __future__ import annotations

import time

from mimlab.data.manifest import DataSet
from mimlab.probe.base import Probe
from mimlab.probe.task import ProbeOrder, probe_step
from mimlab.spec.study import trial_spec
from mimlab.storage.folders import TrialFolder

SOME_IMAGES = 2000
FEW_IMAGES = 200
"""That a probe is trained on, both for an epoch, to see what an image costs."""


def probe_seconds(order: ProbeOrder, trial: TrialFolder, probe: Probe) -> float:
    """Seconds of a probe on a trial's last export.

    Of one that trains for epochs, an epoch of few and one of some images are run: their difference
    is what images cost, the rest is the same for any number. Tokens that would be held between
    epochs are billed as if they were encoded in each.
    """
    epochs = probe.training_epochs
    if epochs is None:
        return _seconds(order, trial, probe)
    fit = DataSet.open(order.data).split(trial_spec(order.spec).data.splits.probe_fit)
    images = min(probe.max_fit or fit.num_rows, fit.num_rows)
    if images <= FEW_IMAGES:
        return epochs * _seconds(order, trial, probe.bounded(max_fit=images, epochs=1))
    some = min(SOME_IMAGES, images)
    little, more = (
        _seconds(order, trial, probe.bounded(max_fit=count, epochs=1))
        for count in (FEW_IMAGES, some)
    )
    # Where noise hides the difference, all of the longer run is an upper bound.
    spent, for_images = (more - little, some - FEW_IMAGES) if more > little else (more, some)
    each = spent / for_images
    return more + each * (epochs * images - some)


def _seconds(order: ProbeOrder, trial: TrialFolder, probe: Probe) -> float:
    spec = order.spec | {"probes": [probe.model_dump(mode="json")]}
    started = time.perf_counter()
    for _ in probe_step(
        order.model_copy(update={"spec": spec}), trial, trial.steps("exports")[-1], [probe.label]
    ):
        pass
    return time.perf_counter() - started
