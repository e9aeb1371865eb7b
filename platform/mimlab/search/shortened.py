"""The study that a smoke run runs: the first trial of each distinct shape, two steps of it."""

from __future__ import annotations

from collections.abc import Sequence

from mimlab.probe.base import Probe
from mimlab.search.frozen import respecified, with_budget
from mimlab.search.shapes import shapes
from mimlab.search.submission import PlannedStudy, retrialled
from mimlab.spec.study import Study, trial_spec
from mimlab.spec.sweep import GridSearch
from mimlab.storage.records import TrialRecord
from mimlab.train.config import Budget

STEPS = 2
MAX_FIT = 1000
"""Images that a probe is fitted on, or its neighbours where they are more."""
PROBE_EPOCHS = 5
"""Passes of a probe that trains. All images that are scored are read in any case."""
EXPERIMENT = "{} smoke"
"""Name of the MLflow experiment: the study's own keeps its note."""


def shortened(planned: PlannedStudy, *, storage: str, tracking: str) -> PlannedStudy:
    """A trial for each of `shapes(planned)`, in their order, that writes to other places."""
    records = [group[0] for group in shapes(planned)]
    images = {record.id: planned.images[record.id] for record in records}
    chosen = PlannedStudy(
        _study(planned, storage, tracking), planned.data, records, images, planned.weights
    )
    return retrialled(chosen, [_short(record) for record in records])


def _study(planned: PlannedStudy, storage: str, tracking: str) -> Study:
    study = planned.study
    update = {
        "study": EXPERIMENT.format(study.study),
        "data": study.data.model_copy(update={"images": str(planned.data.root)}),
        "probes": bounded(study.probes),
        "sweep": study.sweep.model_copy(update={"search": GridSearch(), "stopping": None}),
        "tracking": study.tracking.model_copy(update={"uri": tracking}),
        "storage": storage,
    }
    return study.model_copy(update=update)


def _short(record: TrialRecord) -> TrialRecord:
    """Two steps, each with its point of the curve; nothing before they are all done."""
    spec = with_budget(trial_spec(record.resolved), Budget(steps=STEPS))
    train = spec.train.model_copy(update={"warmup_epochs": 0.0, "log_every": 1})
    probes = bounded(spec.probes)
    return respecified(record, spec.model_copy(update={"train": train, "probes": probes}))


def bounded(probes: Sequence[Probe]) -> tuple[Probe, ...]:
    """The same probes with few images and passes."""
    return tuple(probe.bounded(max_fit=MAX_FIT, epochs=PROBE_EPOCHS) for probe in probes)
