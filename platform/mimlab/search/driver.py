"""The driver of a submission: holds the lease, runs the trials, keeps MLflow in step."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import ray
import ray.tune
from ray.exceptions import RayError
from ray.tune.progress_reporter import TrialProgressCallback

from mimlab.probe.due import AnyProbe, unanswered
from mimlab.probe.task import probe_baselines
from mimlab.search.cluster import Cluster, local_cluster
from mimlab.search.placement import PROBE_CPUS, TRIAL_CPUS, concurrent_trials
from mimlab.search.stopping import scheduler_of
from mimlab.search.submission import PlannedStudy
from mimlab.search.trial import TrialConfig, due_of, run_trial
from mimlab.spec.study import trial_spec
from mimlab.storage import control, lease
from mimlab.storage.control import StopRequest
from mimlab.storage.folders import SubmissionFolder, TrialFolder
from mimlab.storage.records import DONE, TrialState
from mimlab.track.drain import Drain
from mimlab.track.view import MlflowView
from mimlab.train.schedule import total_steps

MAX_TRIAL_DEATHS = 3
"""Times that a trial whose process died is started again."""
RESTARTED: frozenset[TrialState] = frozenset({"failed", "diverged"})
"""States that go on only when asked to."""


class Silence(TrialProgressCallback):
    """Takes the place of the callback by which Tune prints each trial's result."""

    def _print(self, msg: str) -> None:
        pass


@dataclass(frozen=True)
class Options:
    """How a driver runs; changes no result."""

    retry_failed: bool = False
    """Start failed and diverged trials again, from their last checkpoint."""


class Driver:
    """Runs what a submission still has to do. Any thread may call `stop`."""

    def __init__(
        self, submission: SubmissionFolder, planned: PlannedStudy, options: Options | None = None
    ) -> None:
        self.submission = submission
        self.planned = planned
        self.drain: Drain | None = None
        self.error: BaseException | None = None
        self._options = options or Options()
        self._stopping = threading.Event()

    def open_trials(self) -> list[TrialFolder]:
        """Trials that this run is going to start or continue."""
        return [trial for trial in self.submission.trials() if self._is_open(trial)]

    def _is_open(self, trial: TrialFolder) -> bool:
        state = trial.status().state
        if state in RESTARTED:
            return self._options.retry_failed
        return state not in DONE or bool(self._unanswered(trial))

    def _unanswered(self, trial: TrialFolder) -> dict[int, list[AnyProbe]]:
        """Probes of a trial's exports that are due and have no record, e.g. since they changed."""
        due = due_of(trial_spec(trial.record().resolved), self.planned.data)
        exports = set(trial.steps("exports"))
        missing = unanswered(due, trial.probes())
        return {step: probes for step, probes in missing.items() if step in exports}

    @contextlib.contextmanager
    def opened(self) -> Iterator[Callable[[], None]]:
        """Hold the lease, a cluster and MLflow's drain; what is given runs the trials to their
        ends, or to a stop that was asked for.

        To be entered in the main thread, because Ray handles signals there. Raises UserError if
        another driver holds the submission, or if not even one trial fits on the cluster.
        """
        with self._lease() as held, self._tracking():
            trials = self.open_trials()
            for trial in trials:
                lease.claim(trial, self.submission)
            if not trials:
                yield lambda: None
                return
            with local_cluster(self.submission.store.local(self.submission.path)) as cluster:
                at_once = self._concurrent(cluster, len(trials))
                yield lambda: self._run_trials(trials, at_once, held.fence)

    def stop(self, reason: str = "stopped by its user") -> None:
        """Ask every trial to save a checkpoint and end, and start no other."""
        self._stopping.set()
        request = StopRequest(state="stopped", reason=reason)
        for trial in self.submission.trials():
            if trial.status().state not in DONE:
                control.request_stop(trial, request)

    @contextlib.contextmanager
    def _lease(self) -> Iterator[lease.Lease]:
        held = lease.acquire(self.submission)
        ended = threading.Event()

        def renew() -> None:
            while not ended.wait(lease.RENEW_S):
                try:
                    held.renew()
                except lease.LeaseLost as error:
                    self.error = error
                    self.stop(reason="another driver took over")
                    return

        thread = threading.Thread(target=renew, name="lease", daemon=True)
        thread.start()
        try:
            yield held
        finally:
            ended.set()
            thread.join()
            held.release()

    @contextlib.contextmanager
    def _tracking(self) -> Iterator[None]:
        record = self.submission.record()
        view = MlflowView(self.submission.store, record.tracking_uri)
        view.open_submission(record, [trial.record() for trial in self.submission.trials()])
        self.drain = Drain(view)
        self.drain.start()
        try:
            yield
        finally:
            self.drain.stop()

    def _concurrent(self, cluster: Cluster, num_trials: int) -> int:
        study = self.planned.study
        return concurrent_trials(
            study.resources, cluster.capacity, num_trials=num_trials, probes=bool(study.probes)
        )

    def _run_trials(self, trials: list[TrialFolder], at_once: int, fence: int) -> None:
        study = self.planned.study
        for trial in trials:
            control.clear(trial)
            self._mark_pending(trial)
        if self._stopping.is_set():
            return
        baselines = self._start_baselines(trials[0])
        told = TrialConfig(
            storage=self.submission.store.root,
            submission_id=self.submission.id,
            data=self.planned.data.root,
            fence=fence,
            code_fingerprint=self.submission.record().code_fingerprint,
            resources=study.resources,
        )
        trainable = ray.tune.with_resources(run_trial, {"cpu": TRIAL_CPUS})
        ray.tune.Tuner(
            trainable,
            param_space={
                "trial_id": ray.tune.grid_search([trial.id for trial in trials]),
                "told": told.model_dump(mode="json"),
            },
            tune_config=ray.tune.TuneConfig(
                max_concurrent_trials=at_once,
                scheduler=scheduler_of(
                    study.sweep.stopping,
                    max_epochs=self._epochs(),
                    ask_to_stop=self._ask_to_stop,
                ),
            ),
            run_config=ray.tune.RunConfig(
                name=f"tune-{fence:06d}",
                storage_path=str(self.submission.store.local("ray") / self.submission.id),
                verbose=0,
                callbacks=[Silence()],
                failure_config=ray.tune.FailureConfig(max_failures=MAX_TRIAL_DEATHS),
            ),
        ).fit()
        self._settle(trials)
        if baselines is not None:
            with contextlib.suppress(RayError):
                ray.get(baselines)

    def _mark_pending(self, trial: TrialFolder) -> None:
        status = trial.status()
        trial.write_status(status.model_copy(update={"state": "pending", "reason": ""}))

    def _epochs(self) -> float:
        study = self.planned.study
        num_images = self.planned.data.split(study.data.splits.train).num_rows
        steps = total_steps(study.train.budget, num_images, study.train.batch_size)
        return steps * study.train.batch_size / num_images

    def _ask_to_stop(self, trial_id: str, reason: str) -> None:
        request = StopRequest(state="pruned", reason=reason)
        control.request_stop(TrialFolder(self.submission.store, trial_id), request)

    def _start_baselines(self, trial: TrialFolder) -> ray.ObjectRef | None:
        have = self.submission.store.list(self.submission.file("baselines"))
        if have or not self.planned.study.probes:
            return None
        task = ray.remote(num_cpus=PROBE_CPUS)(probe_baselines)
        root = str(self.submission.store.root)
        return task.remote(root, self.submission.id, trial.id, str(self.planned.data.root), 1)

    def _settle(self, trials: list[TrialFolder]) -> None:
        """Trials whose process could not write its own end get a true status."""
        for trial in trials:
            status = trial.status()
            if status.state in ("running", "probing", "pending"):
                state: TrialState = "stopped" if self._stopping.is_set() else "failed"
                reason = "" if state == "stopped" else "its process died too often: see log.jsonl"
                update = {"state": state, "reason": reason}
                trial.write_status(status.model_copy(update=update))
