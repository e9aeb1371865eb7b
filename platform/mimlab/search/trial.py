"""What runs in a Ray Tune trial: Ray Train workers, probes beside them, the trial's true status."""

from __future__ import annotations

import time
import traceback
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any

import ray.tune
from pydantic import BaseModel, ConfigDict

from mimlab.data.manifest import DataSet
from mimlab.errors import UserError, in_a_line
from mimlab.probe.due import due_of
from mimlab.probe.scheduler import ProbeScheduler
from mimlab.probe.task import ProbeOrder
from mimlab.search.placement import PROBE_CPUS, cpus_beside
from mimlab.search.stopping import EPOCH
from mimlab.search.watch import answers
from mimlab.search.workers import fit
from mimlab.spec.study import Resources, trial_spec
from mimlab.storage import lease
from mimlab.storage.control import (
    Outcome,
    StopRequest,
    read_outcome,
    request_prune,
    stop_request,
)
from mimlab.storage.folders import TrialFolder
from mimlab.storage.lease import LeaseLost, check_fence
from mimlab.storage.patience import OutOfPatience
from mimlab.storage.records import DONE, ProbeRecord
from mimlab.storage.store import Store
from mimlab.train.log import TrialLog
from mimlab.train.worker_config import WorkerConfig

POLL_S = 0.5


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

    Only the death of the process is an error to Ray Tune, which then starts the trial again. What
    goes wrong because the driver or the cluster ends is no failure of the trial: its status stays
    as it is, and the next driver goes on with it.
    """
    told = Told.model_validate(config["told"])
    at_once = Store(told.storage)
    fence = partial(check_fence, at_once, told.submission_id, told.fence)
    store = at_once.patient(told.resources.wait_s, fence)
    trial = TrialFolder(store, config["trial"]["trial_id"])
    asked = stop_request(trial)
    try:
        if asked is not None:  # while it waited for its turn
            _leave(told, trial, asked)
            return
        _run(told, trial, config["trial"]["spec"])
    except (LeaseLost, OutOfPatience) as error:
        TrialLog(trial).write("trial left", {"reason": str(error)})
    except Exception as error:
        TrialLog(trial).write("error", {"traceback": traceback.format_exc()})
        if not _is_driven(told, trial):
            raise
        if trial.status().ended is not None:
            _as_before(told, trial)
            return
        _set_state(told, trial, Outcome(state="failed", reason=in_a_line(error)))


def _run(told: Told, trial: TrialFolder, spec: dict[str, Any]) -> None:
    due = due_of(trial_spec(spec), DataSet.open(told.data))
    order = ProbeOrder(
        storage=told.storage,
        spec=spec,
        data=told.data,
        threads=1,
        use_gpu=told.resources.gpus_per_worker > 0,
        wait_s=told.resources.wait_s,
    )
    probes = ProbeScheduler(trial, due, order, cpus=PROBE_CPUS)
    if trial.status().back().state in DONE:
        _probe_again(told, trial, probes)
        return
    with ThreadPoolExecutor(1, thread_name_prefix="fit") as executor:
        training = executor.submit(_fit, told, trial, spec)
        while not training.done():
            _stop_if_collapsed(trial, order, _follow(trial, probes))
            time.sleep(POLL_S)
    _finish(told, trial, probes, _outcome(trial, training))


def _fit(told: Told, trial: TrialFolder, spec: dict[str, Any]) -> None:
    check_fence(trial.store, told.submission_id, told.fence)
    status = trial.status()
    attempt = lease.begin_attempt(trial, told.submission_id, status.attempt + 1)
    trial.write_status(status.model_copy(update={"state": "running", "attempt": attempt}))
    resources, config = told.resources, trial_spec(spec)
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
        wait_s=resources.wait_s,
    )
    beside = cpus_beside(probes=bool(config.probes), decode=config.data.decode == "tasks")
    fit(worker, trial, resources, beside_cpus=beside)


def _follow(trial: TrialFolder, probes: ProbeScheduler) -> list[ProbeRecord]:
    """Launch probes and pass their results on. What fails here must not fail a good training."""
    try:
        records = probes.poll()
        _report(records)
    except (OSError, UserError) as error:
        TrialLog(trial).write("following fails", {"reason": in_a_line(error)})
        return []
    return records


def _stop_if_collapsed(trial: TrialFolder, order: ProbeOrder, records: list[ProbeRecord]) -> None:
    """Where the study says so. Whatever else was asked of the trial comes first."""
    collapsed = next((record for record in records if record.collapse), None)
    if collapsed is None or not trial_spec(order.spec).collapse.stop:
        return
    if stop_request(trial) is None:
        reason = f"features collapsed at epoch {collapsed.epoch:.4g}: {collapsed.collapse}"
        request_prune(trial, reason)


def _report(records: list[ProbeRecord]) -> None:
    """Tell the scheduler; results from before a resume come first and rebuild its rungs."""
    for record in records:
        if record.metrics:
            ray.tune.report({EPOCH: record.epoch, "step": record.step, **record.metrics})


def _outcome(trial: TrialFolder, training: Future[None]) -> Outcome:
    """How the training ended. Raises what ended it where that had no time to be written down."""
    written = read_outcome(trial)
    if written is not None:
        return written
    training.result()
    return Outcome(state="stopped", reason="the storage did not take how its training ended")


def _is_driven(told: Told, trial: TrialFolder) -> bool:
    """Whether the driver lives and still has its cluster, so that a failure is the trial's own."""
    return answers() and lease.driven(trial.store, told.submission_id, told.fence)


def _finish(told: Told, trial: TrialFolder, probes: ProbeScheduler, outcome: Outcome) -> None:
    """Wait for the last probe where the trial is done, then write its status."""
    if outcome.state in DONE:
        _set_state(told, trial, outcome.model_copy(update={"state": "probing"}))
        asked = _await_probes(trial, probes)
        if asked is not None:
            outcome = Outcome(state=asked.state, reason=asked.reason, step=outcome.step)
    _set_state(told, trial, outcome)


def _probe_again(told: Told, trial: TrialFolder, probes: ProbeScheduler) -> None:
    """Whatever happens meanwhile, the trial has ended as it had before: nothing of it is trained
    again."""
    check_fence(trial.store, told.submission_id, told.fence)
    status = trial.status().back()
    update = {"state": "probing", "ended": status.state, "heartbeat": status.heartbeat + 1}
    trial.write_status(status.model_copy(update=update))
    _await_probes(trial, probes)
    _as_before(told, trial)


def _as_before(told: Told, trial: TrialFolder) -> None:
    """Give a trial that was probed once more the end that it had."""
    check_fence(trial.store, told.submission_id, told.fence)
    status = trial.status().back()
    trial.write_status(status.model_copy(update={"heartbeat": status.heartbeat + 1}))


def _await_probes(trial: TrialFolder, probes: ProbeScheduler) -> StopRequest | None:
    """Until the last probe has ended, or the trial is asked to stop."""
    _follow(trial, probes)
    while probes.busy:
        asked = stop_request(trial)
        if asked is not None:
            return asked
        time.sleep(POLL_S)
        _follow(trial, probes)
    return None


def _leave(told: Told, trial: TrialFolder, asked: StopRequest) -> None:
    """End a trial that has not begun, or not begun again."""
    status = trial.status()
    if status.ended is not None:
        _as_before(told, trial)
    elif status.state not in DONE:
        _set_state(told, trial, Outcome(state=asked.state, reason=asked.reason))


def _set_state(told: Told, trial: TrialFolder, outcome: Outcome) -> None:
    check_fence(trial.store, told.submission_id, told.fence)
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
