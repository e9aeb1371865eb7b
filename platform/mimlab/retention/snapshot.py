"""A trial's snapshot for the rules, from its folder."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence

from mimlab.probe.config import metric_of
from mimlab.retention.rules import Kind, Saved, TrialSnapshot
from mimlab.spec.study import TrialSpec
from mimlab.spec.sweep import Asha, Median
from mimlab.storage.files import FileSize
from mimlab.storage.folders import TrialFolder
from mimlab.storage.forks import awaited_steps
from mimlab.storage.records import DONE, ProbeRecord, TrialRecord
from mimlab.storage.store import Store
from mimlab.train.checkpoint import MANIFEST_FILE
from mimlab.train.export import CARD_FILE

COMMITTED_BY: dict[Kind, str] = {"checkpoints": MANIFEST_FILE, "exports": CARD_FILE}

_STEP_FILE = re.compile(r"(checkpoints|exports)/step_(\d{9})/(.+)")


def snapshot(
    trial: TrialFolder,
    spec: TrialSpec,
    sizes: dict[str, FileSize],
    *,
    milestones: Sequence[float],
    unprobed: frozenset[int] | None,
    forked: bool = False,
) -> TrialSnapshot:
    """A trial as the rules see it.

    Args:
        trial: its folder.
        spec: its configuration.
        sizes: what `Store.sizes` says of the folder.
        milestones: epochs at which early stopping compares, ascending: see `milestones_of`.
        unprobed: steps whose export is to be probed; None where that is not known.
        forked: whether a fork of it is known that has yet to begin; those that the trial's own
            folder tells of need not be.
    """
    records = trial.probes()
    return TrialSnapshot(
        id=trial.id,
        state=trial.status().state,
        checkpoints=committed(sizes, "checkpoints"),
        exports=committed(sizes, "exports"),
        num_bytes=sum(size.num_bytes for size in sizes.values()),
        best=_best(spec, records),
        rungs=_rungs(records, milestones),
        unprobed=unprobed,
        forked=forked or bool(awaited_steps(trial)),
    )


def steps_of(sizes: dict[str, FileSize], kind: Kind) -> dict[int, dict[str, FileSize]]:
    """The files of each step of a kind, by their names; committed or not."""
    found: dict[int, dict[str, FileSize]] = defaultdict(dict)
    for path, size in sizes.items():
        match = _STEP_FILE.fullmatch(path)
        if match and match.group(1) == kind:
            found[int(match.group(2))][match.group(3)] = size
    return dict(sorted(found.items()))


def committed(sizes: dict[str, FileSize], kind: Kind) -> tuple[Saved, ...]:
    """What is committed, by step."""
    return tuple(
        Saved(step, sum(size.num_bytes for size in files.values()))
        for step, files in steps_of(sizes, kind).items()
        if COMMITTED_BY[kind] in files
    )


def milestones_of(stopping: Asha | Median | None, max_epochs: float) -> list[float]:
    """Epochs of ASHA's rungs; the median rule has none that stand out."""
    if not isinstance(stopping, Asha):
        return []
    grace, factor = stopping.grace_epochs, stopping.reduction_factor
    count = max(0, math.ceil(math.log(max(max_epochs / grace, 1.0), factor)))
    return [grace * factor**rung for rung in range(count)]


def forked_from(store: Store, trials: Iterable[TrialRecord]) -> frozenset[str]:
    """Ids of trials that a fork, which has no checkpoint yet, is going to start from."""
    return frozenset(
        record.parent
        for record in trials
        if record.parent is not None and _has_yet_to_begin(TrialFolder(store, record.id))
    )


def _has_yet_to_begin(fork: TrialFolder) -> bool:
    if fork.status().state in DONE:
        return False
    return not committed(fork.store.sizes(fork.path), "checkpoints")


def _best(spec: TrialSpec, records: Sequence[ProbeRecord]) -> frozenset[int]:
    if not spec.probes:
        return frozenset()
    key = metric_of(spec.probes[0])
    scores = {r.step: r.metrics[key] for r in records if key in r.metrics}
    # One at least: its export is what a study is run for.
    count = max(1, spec.train.checkpoint.keep_best)
    return frozenset(sorted(scores, key=lambda step: -scores[step])[:count])


def _rungs(records: Sequence[ProbeRecord], milestones: Sequence[float]) -> frozenset[int]:
    """A rung compares what a trial has shown first from its epoch on."""
    reached = [[r.step for r in records if r.epoch >= epoch] for epoch in milestones]
    return frozenset(min(steps) for steps in reached if steps)
