"""Launches probes of a trial as its exports appear. A probe that dies kills nothing."""

from __future__ import annotations

import time

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from mimlab.probe.base import Probe
from mimlab.probe.due import reads_of, settings_of, unanswered
from mimlab.probe.remote import OWN_PROCESSES, probe_export
from mimlab.probe.task import ProbeOrder, probe_file
from mimlab.spec.study import trial_spec
from mimlab.storage.folders import TrialFolder
from mimlab.storage.records import ProbeRecord
from mimlab.train.export import card_path
from mimlab.train.log import TrialLog

MAX_RETRIES = 2
"""Times that a probe whose process died is started again."""


class ProbeScheduler:
    """Runs, in Ray tasks, whatever probe is due at an export and has no result yet."""

    def __init__(
        self,
        trial: TrialFolder,
        due: dict[int, list[Probe]],
        order: ProbeOrder,
        *,
        cpus: float,
    ) -> None:
        """`due`: steps done → probes; `cpus`: what each task reserves."""
        self._trial = trial
        self._due = due
        self._order = order
        self._reads = reads_of(trial_spec(order.spec))
        # A probe runs beside its trial, not in the trial's own small placement group.
        beside = PlacementGroupSchedulingStrategy(None)  # pyright: ignore[reportArgumentType]
        self._task = ray.remote(
            num_cpus=cpus,
            max_retries=MAX_RETRIES,
            scheduling_strategy=beside,
            runtime_env=OWN_PROCESSES,
        )(probe_export)
        self._running: dict[int, ray.ObjectRef] = {}
        self._given_up: set[int] = set()
        self._reported: set[tuple[int, str]] = set()

    def poll(self) -> list[ProbeRecord]:
        """Start what is due, and return the results that appeared since the last call."""
        # First what has ended, so that nothing that is no longer busy stays unreported.
        self._collect()
        records = self._trial.probes()
        missing = unanswered(self._due, records, self._reads)
        for step in self._trial.steps("exports"):
            waits = step in missing and step not in self._given_up | self._running.keys()
            # Whole or not is for the probe to see: it exports again what is corrupt.
            if waits and self._trial.store.exists(card_path(self._trial, step)):
                labels = [probe.label for probe in missing[step]]
                self._running[step] = self._launch(step, labels)
        waiting = {(step, probe.label) for step, probes in missing.items() for probe in probes}
        recorded = {(record.step, record.probe): record for record in records}
        # A record that is waited for answers for other settings: it is going to be replaced.
        fresh = [key for key in recorded if key not in self._reported | waiting]
        self._reported |= set(fresh)
        return [recorded[key] for key in fresh]

    @property
    def busy(self) -> bool:
        """Whether a probe is still running."""
        return bool(self._running)

    def _launch(self, step: int, labels: list[str]) -> ray.ObjectRef:
        order = self._order.model_dump(mode="json")
        return self._task.remote(order, self._trial.id, step, labels)

    def _collect(self) -> None:
        refs = list(self._running.values())
        ready = set(ray.wait(refs, num_returns=len(refs), timeout=0)[0]) if refs else set()
        for step, ref in list(self._running.items()):
            if ref not in ready:
                continue
            try:
                ray.get(ref)
            except RayError as error:
                self._give_up(step, error)
            del self._running[step]

    def _give_up(self, step: int, error: RayError) -> None:
        reason = _in_a_line(error)
        self._given_up.add(step)
        TrialLog(self._trial).write("probe failed", {"step": step, "reason": reason})
        missing = unanswered(self._due, self._trial.probes(), self._reads)
        for probe in missing.get(step, []):
            record = ProbeRecord(
                probe=probe.label,
                protocol=probe.protocol,
                settings=settings_of(probe, self._reads),
                step=step,
                epoch=0.0,
                metrics={},
                encoder_hash="",
                data_fingerprint="",
                num_fit=0,
                num_test=0,
                seconds=0.0,
                time_ms=time.time_ns() // 1_000_000,
                error=reason,
            )
            path = self._trial.file(probe_file(probe.label, step))
            self._trial.store.write_record(path, record)


def _in_a_line(error: RayError) -> str:
    """What the probe itself raised, where it raised anything, else what Ray says of its death."""
    cause = getattr(error, "cause", None) or error
    lines = str(cause).strip().splitlines()
    return lines[-1] if lines else type(cause).__name__
