"""What a probe costs: run as it is, or where it trains for long, only a part of it."""

from __future__ import annotations

import time

from mimlab.data.manifest import DataSet
from mimlab.probe.base import Probe
from mimlab.probe.task import ProbeOrder, probe_step
from mimlab.spec.study import trial_spec
from mimlab.storage.folders import TrialFolder

SOME_IMAGES = 1000
"""That a probe is trained on to see what an epoch costs."""


def probe_seconds(order: ProbeOrder, trial: TrialFolder, probe: Probe) -> float:
    """Seconds of a probe on a trial's last export.

    Of one that trains for epochs, one and two epochs of some images are run: their difference is
    what an epoch of so many images costs, the rest does not depend on epochs.
    """
    epochs = probe.training_epochs
    if epochs is None or epochs <= 2:
        return _seconds(order, trial, probe)
    fit = DataSet.open(order.data).split(trial_spec(order.spec).data.splits.probe_fit)
    images = min(probe.max_fit or fit.num_rows, fit.num_rows)
    some = min(SOME_IMAGES, images)
    once, twice = (
        _seconds(order, trial, probe.bounded(max_fit=some, epochs=count)) for count in (1, 2)
    )
    return once + max(0.0, twice - once) * (epochs * images / some - 1)


def _seconds(order: ProbeOrder, trial: TrialFolder, probe: Probe) -> float:
    spec = order.spec | {"probes": [probe.model_dump(mode="json")]}
    started = time.perf_counter()
    for _ in probe_step(
        order.model_copy(update={"spec": spec}), trial, trial.steps("exports")[-1], [probe.label]
    ):
        pass
    return time.perf_counter() - started
