"""What runs in a Ray Tune trial: Ray Train workers, probes beside them, the trial's true status."""

from __future__ import annotations

import time
import traceback
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import ray.tune
from pydantic import BaseModel, ConfigDict
from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer

from mimlab.data.manifest import DataSet
from mimlab.data.subset import training_split
from mimlab.errors import UserError
from mimlab.probe.base import Probe
from mimlab.probe.due import due_steps
from mimlab.probe.scheduler import ProbeScheduler
from mimlab.probe.task import ProbeOrder
from mimlab.search.host_memory import HostMemory
from mimlab.search.placement import PROBE_CPUS
from mimlab.search.stopping import EPOCH
from mimlab.spec.study import Resources, TrialSpec, trial_spec
from mimlab.storage.control import (
    Outcome,
    StopRequest,
    read_outcome,
    request_stop,
    stop_request,
)
from mimlab.storage.folders import TrialFolder
from mimlab.storage.records import DONE, ProbeRecord
from mimlab.storage.store import Store
from mimlab.train.log import TrialLog
from mimlab.train.memory import remedy
from mimlab.train.remote import train_on_worker
from mimlab.train.schedule import total_steps
from mimlab.train.session import WorkerConfig

POLL_S = 0.5
MAX_WORKER_DEATHS = 3
"""Times that workers which died are started again from the last checkpoint."""


class Told(BaseModel):
    """What every trial's process is told."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    storage: str
    submission_id: str
    data: str
    fence: int
    code_fingerprint: str
    resources: Resources


def run_trial(config: dict) -> None:
    """Entry point of a Ray Tune trial: {"trial": {"trial_id": …, "spec": …}, "told": a `Told`}.

    `spec` is a `TrialSpec` in JSON form as this submission has it: an older one may have probed
    the same trial otherwise.

    Only the death of the process is an error to Ray Tune, which then starts the trial again.
    """
    told = Told.model_validate(config["told"])
    trial = TrialFolder(Store(told.storage), config["trial"]["trial_id"])
    if stop_request(trial) is not None:
        return
    try:
        _run(told, trial, config["trial"]["spec"])
    except Exception as error:
        TrialLog(trial).write("error", {"traceback": traceback.format_exc()})
        _set_state(trial, Outcome(state="failed", reason=_in_a_line(error)))


def _run(told: Told, trial: TrialFolder, spec: dict[str, Any]) -> None:
    due = due_of(trial_spec(spec), DataSet.open(told.data))
    order = ProbeOrder(
        storage=told.storage,
        spec=spec,
        data=told.data,
        threads=1,
        use_gpu=told.resources.gpus_per_worker > 0,
    )
    probes = ProbeScheduler(trial, due, order, cpus=PROBE_CPUS)
    before = trial.status()
    if before.state in DONE:
        _finish(trial, probes, Outcome(state=before.state, reason=before.reason, step=before.step))
        return
    with ThreadPoolExecutor(1, thread_name_prefix="fit") as executor:
        training = executor.submit(_fit, told, trial, spec)
        while not training.done():
            _stop_if_collapsed(trial, order, _follow(trial, probes))
            time.sleep(POLL_S)
    _finish(trial, probes, _outcome(trial, training))


def _in_a_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[-1]}" if lines else type(error).__name__


def due_of(spec: TrialSpec, data: DataSet) -> dict[int, list[Probe]]:
    """Steps done → the probes due there."""
    num_images = training_split(data, spec.data.splits.train, spec.data.subset).num_rows
    batch_size = spec.train.batch_size
    return due_steps(
        spec.probes,
        num_images=num_images,
        batch_size=batch_size,
        total_steps=total_steps(spec.train.budget, num_images, batch_size),
    )


def _fit(told: Told, trial: TrialFolder, spec: dict[str, Any]) -> None:
    status = trial.status()
    attempt = status.attempt + 1
    trial.write_status(status.model_copy(update={"state": "running", "attempt": attempt}))
    resources = told.resources
    worker = WorkerConfig(
        storage=told.storage,
        submission_id=told.submission_id,
        trial_id=trial.id,
        spec=spec,
        data=told.data,
        fence=told.fence,
        attempt=attempt,
        code_fingerprint=told.code_fingerprint,
        cpus=resources.cpus_per_worker,
    )
    TorchTrainer(
        train_on_worker,
        train_loop_config=worker.model_dump(mode="json"),
        scaling_config=ScalingConfig(
            num_workers=resources.workers,
            use_gpu=resources.gpus_per_worker > 0,
            resources_per_worker=_per_worker(resources),
        ),
        run_config=RunConfig(
            name=f"{trial.id}-{attempt}",
            storage_path=str(trial.store.scratch("ray") / told.submission_id),
            failure_config=FailureConfig(max_failures=MAX_WORKER_DEATHS),
            callbacks=[HostMemory(trial, remedy(trial_spec(spec).train, resources.workers))],
        ),
    ).fit()


def _per_worker(resources: Resources) -> dict[str, float]:
    asked = {"CPU": resources.cpus_per_worker}
    if resources.gpus_per_worker:
        asked["GPU"] = resources.gpus_per_worker
    return asked


def _follow(trial: TrialFolder, probes: ProbeScheduler) -> list[ProbeRecord]:
    """Launch probes and pass their results on. What fails here must not fail a good training."""
    try:
        records = probes.poll()
        _report(records)
    except (OSError, UserError) as error:
        TrialLog(trial).write("following fails", {"reason": _in_a_line(error)})
        return []
    return records


def _stop_if_collapsed(trial: TrialFolder, order: ProbeOrder, records: list[ProbeRecord]) -> None:
    """Where the study says so. Whatever else was asked of the trial comes first."""
    collapsed = next((record for record in records if record.collapse), None)
    if collapsed is None or not trial_spec(order.spec).collapse.stop:
        return
    if stop_request(trial) is None:
        reason = f"features collapsed at epoch {collapsed.epoch:.4g}: {collapsed.collapse}"
        request_stop(trial, StopRequest(state="pruned", reason=reason))


def _report(records: list[ProbeRecord]) -> None:
    """Tell the scheduler; results from before a resume come first and rebuild its rungs."""
    for record in records:
        if record.metrics:
            ray.tune.report({EPOCH: record.epoch, "step": record.step, **record.metrics})


def _outcome(trial: TrialFolder, training: Future[None]) -> Outcome:
    """How the training ended, if need be by what its last error says."""
    written = read_outcome(trial)
    if written is not None:
        return written
    error = training.exception()
    reason = _in_a_line(error) if error else "the workers ended without a word"
    TrialLog(trial).write("workers lost", {"reason": str(error)})
    return Outcome(state="failed", reason=reason)


def _finish(trial: TrialFolder, probes: ProbeScheduler, outcome: Outcome) -> None:
    """Wait for the last probe where the trial is done, then write its status."""
    if outcome.state in DONE:
        _set_state(trial, outcome.model_copy(update={"state": "probing"}))
        _follow(trial, probes)
        while probes.busy:
            asked = stop_request(trial)
            if asked is not None and asked.state != "pruned":
                outcome = Outcome(state=asked.state, reason=asked.reason, step=outcome.step)
                break
            time.sleep(POLL_S)
            _follow(trial, probes)
    _set_state(trial, outcome)


def _set_state(trial: TrialFolder, outcome: Outcome) -> None:
    status = trial.status()
    trial.write_status(
        status.model_copy(
            update={
                "state": outcome.state,
                "reason": outcome.reason,
                "heartbeat": status.heartbeat + 1,
            }
        )
    )
