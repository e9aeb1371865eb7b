"""Launches probes of a trial as its exports appear. A probe that dies kills nothing."""

from __future__ import annotations

import time

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from mimlab.probe.due import AnyProbe, settings_of, unanswered
from mimlab.probe.evaluate import PROTOCOLS
from mimlab.probe.task import probe_export, probe_file
from mimlab.storage.folders import TrialFolder
from mimlab.storage.records import ProbeRecord
from mimlab.train.export import read_card
from mimlab.train.log import TrialLog

MAX_RETRIES = 2
"""Times that a probe whose process died is started again."""


class ProbeScheduler:
    """Runs, in Ray tasks, whatever probe is due at an export and has no record yet."""

    def __init__(
        self,
        trial: TrialFolder,
        due: dict[int, list[AnyProbe]],
        *,
        data: str,
        cpus: float,
        gpus: float,
    ) -> None:
        self._trial = trial
        self._due = due
        self._data = data
        self._threads = max(1, int(cpus))
        # A probe runs beside its trial, not in the trial's own small placement group.
        beside = PlacementGroupSchedulingStrategy(None)  # pyright: ignore[reportArgumentType]
        self._task = ray.remote(
            num_cpus=cpus, num_gpus=gpus, max_retries=MAX_RETRIES, scheduling_strategy=beside
        )(probe_export)
        self._running: dict[int, ray.ObjectRef] = {}
        self._reported: set[tuple[int, str]] = set()

    def poll(self) -> list[ProbeRecord]:
        """Start what is due, and return the results that appeared since the last call."""
        records = self._trial.probes()
        missing = unanswered(self._due, records)
        for step in self._trial.steps("exports"):
            waits = step in missing and step not in self._running
            if waits and read_card(self._trial, step):
                names = [probe.name for probe in missing[step]]
                self._running[step] = self._launch(step, names)
        self._collect()
        recorded = {(record.step, record.probe): record for record in records}
        fresh = [record for key, record in recorded.items() if key not in self._reported]
        self._reported |= set(recorded)
        return fresh

    @property
    def busy(self) -> bool:
        """Whether a probe is still running."""
        return bool(self._running)

    def _launch(self, step: int, names: list[str]) -> ray.ObjectRef:
        root = str(self._trial.store.root)
        return self._task.remote(root, self._trial.id, step, names, self._data, self._threads)

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
        reason = str(getattr(error, "cause", None) or error).strip().splitlines()[-1]
        TrialLog(self._trial).write("probe failed", {"step": step, "reason": reason})
        for probe in unanswered(self._due, self._trial.probes()).get(step, []):
            record = ProbeRecord(
                probe=probe.name,
                protocol=PROTOCOLS[probe.name],
                settings=settings_of(probe),
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
            path = self._trial.file(probe_file(probe.name, step))
            self._trial.store.write_record(path, record)
