"""The trials that an adaptive search adds to a submission, one point at a time.

What the search knows is what the storage holds: where each point lies, and what its trials came to.
So another driver that goes on with the submission proposes what this one would have proposed.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator, Sequence

from mimlab.probe.due import asked_for
from mimlab.search.sidecars import sidecar_check
from mimlab.search.submission import PlannedStudy, image_counter, record_of, subset_problems
from mimlab.search.tpe import Observation, proposed
from mimlab.spec.checks import check_of
from mimlab.spec.errors import Problem
from mimlab.spec.points import Point
from mimlab.spec.space import Space
from mimlab.spec.study import TrialSpec, trial_spec
from mimlab.spec.survey import problems_at
from mimlab.storage.folders import SubmissionFolder, TrialFolder
from mimlab.storage.records import DONE, ProbeRecord, TrialRecord, TrialsRecord


class Suggestions:
    """Chooses the next points of a submission. Only its driver may use it."""

    def __init__(self, submission: SubmissionFolder, planned: PlannedStudy, space: Space) -> None:
        self._submission = submission
        self._planned = planned
        self._space = space
        self._check = check_of(planned.study)
        self._count = image_counter(planned.data)
        self._sidecars = sidecar_check(planned.data)

    @property
    def left(self) -> int:
        """Points that are still to be chosen."""
        points = _by_point(self._submission.trial_records())
        return max(0, self._space.search.num_trials - len(points))

    def add(self) -> list[TrialRecord]:
        """Choose a point and write its trials, one a seed; none where nothing is left to try.

        An identical trial that another submission has finished counts as it ended there.
        """
        if self.left == 0:
            return []
        known = self._submission.trial_records()
        ids = {record.id for record in known}

        def allowed(point: Point) -> bool:
            return not problems_at(self._space, point, self._problems) and ids.isdisjoint(
                record.id for record in self._records(point, 0)
            )

        point = proposed(self._space, self._past(known), allowed)
        if point is None:
            return []
        added = self._records(point, len(known))
        store = self._submission.store
        for record in added:
            store.create(TrialFolder(store, record.id).file("trial.json"), record.to_bytes())
        trials = TrialsRecord(trials=[*known, *added])
        store.write_record(self._submission.file("trials.json"), trials)
        return added

    def _problems(self, spec: TrialSpec) -> Iterator[Problem]:
        yield from self._check(spec)
        yield from subset_problems(spec, self._count)
        yield from self._sidecars(spec)

    def _records(self, point: Point, first: int) -> list[TrialRecord]:
        study, data = self._planned.study, self._planned.data
        return [
            record_of(study, trial, trial.spec, data, self._space)
            for trial in self._space.trials(point, first)
        ]

    def _past(self, known: Sequence[TrialRecord]) -> list[Observation]:
        store, metric = self._submission.store, self._space.search.metric
        return [
            observed([TrialFolder(store, record.id) for record in seeds], seeds[0], metric)
            for seeds in _by_point(known)
        ]


def observed(seeds: Sequence[TrialFolder], record: TrialRecord, metric: str) -> Observation:
    """What a point has come to: the mean over its seeds, once all of them have ended."""
    states = {trial.status().state for trial in seeds}
    if states & {"failed", "diverged"}:
        return Observation(record.coordinates, "failed")
    if not states <= DONE:
        return Observation(record.coordinates, "running")
    spec = trial_spec(record.resolved)
    last = [_last(asked_for(spec, trial.probes()), metric) for trial in seeds]
    values = [found.metrics[metric] for found in last if found is not None]
    return Observation(
        record.coordinates,
        "pruned" if "pruned" in states else "finished",
        value=statistics.fmean(values) if len(values) == len(seeds) else None,
        step=min((found.step for found in last if found is not None), default=0),
    )


def _last(probes: Sequence[ProbeRecord], metric: str) -> ProbeRecord | None:
    """The last result of the metric's probe; None if that one failed."""
    of_probe = [record for record in probes if record.probe == metric.split("/")[1]]
    return of_probe[-1] if of_probe and metric in of_probe[-1].metrics else None


def _by_point(records: Sequence[TrialRecord]) -> list[list[TrialRecord]]:
    """The trials of each point, in the order in which they were chosen."""
    points: dict[str, list[TrialRecord]] = {}
    for record in records:
        points.setdefault(json.dumps(record.coordinates, sort_keys=True), []).append(record)
    return list(points.values())
