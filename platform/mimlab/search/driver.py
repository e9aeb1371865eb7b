"""The driver of a submission: holds the lease, runs the trials, keeps MLflow in step."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Literal

import ray
import ray.tune

from mimlab.errors import NoRoom, UserError
from mimlab.probe.due import asked_for
from mimlab.retention.budget import DiskBudget
from mimlab.search import supervision
from mimlab.search.baselines import Baselines
from mimlab.search.callback import TrialDeaths
from mimlab.search.cluster import Cluster, driver_cluster
from mimlab.search.fingerprint import code_zip, fingerprint
from mimlab.search.hour_limit import HourLimit
from mimlab.search.open_trials import OpenTrials
from mimlab.search.placement import TRIAL_CPUS
from mimlab.search.requests import Requests
from mimlab.search.room import Room
from mimlab.search.shared_folders import other_machines, refuse_unshared
from mimlab.search.stopping import scheduler_of
from mimlab.search.submission import PlannedStudy, go_on_with
from mimlab.search.suggestions import Suggestions
from mimlab.search.tracking import Tracking
from mimlab.search.trial import Told, run_trial
from mimlab.search.trial_queue import TrialQueue
from mimlab.search.watch import LOST_S, answers
from mimlab.spec.study import trial_spec
from mimlab.storage import asked, control, lease
from mimlab.storage.control import StopRequest
from mimlab.storage.folders import SubmissionFolder, TrialFolder
from mimlab.storage.holding import held
from mimlab.storage.records import DONE, ProbeRecord, TrialRecord
from mimlab.storage.store import Store
from mimlab.train.config import TrainConfig
from mimlab.train.log import TrialLog
from mimlab.train.schedule import total_steps


@dataclass(frozen=True)
class Options:
    """How a driver runs; changes no result."""

    retry_failed: bool = False
    """Start failed and diverged trials again, from their last checkpoint."""
    study_options: list[str] | None = None
    """How the study's file is changed on the command line; None: as when it was submitted."""
    only: frozenset[str] = frozenset()
    """Ids of the trials that this run is for; empty: all of them."""
    restarted: bool = False
    """Whether nobody asked for it now, so that an earlier request to stop still holds."""


class Driver:
    """Runs what a submission still has to do. Any thread may call `stop`."""

    def __init__(
        self, submission: SubmissionFolder, planned: PlannedStudy, options: Options | None = None
    ) -> None:
        self._at_once = submission
        self._fence = 0
        """Of this driver's lease, once it has one."""
        wait_s = planned.study.resources.wait_s
        store = submission.store.patient(wait_s, guard=self._check_fence)
        self.submission = submission = SubmissionFolder(store, submission.id)
        self.planned = planned
        self.error: BaseException | None = None
        self.baseline_error = ""
        """Why the baselines could not be measured."""
        self._options = options = options or Options()
        self._trials = {record.id: record for record in submission.trial_records()}
        self._open = OpenTrials(
            submission,
            self._trials,
            planned.data,
            only=options.only,
            retry_failed=options.retry_failed,
        )
        self.hours = HourLimit(submission, planned.study.resources)
        """What the submission has spent, and may."""
        self.disk = DiskBudget(
            submission,
            limit_bytes=planned.study.resources.max_disk,
            stopping=planned.study.sweep.stopping,
            max_epochs=self._epochs(),
            unprobed=self._open.unanswered,
        )
        """Keeps the trials' files within what they may take."""
        self.room: Room | None = None
        """What the trials find on the cluster, once it is joined."""
        self.left: list[str] = []
        """Ids of trials that ended before they were done though nobody asked them to."""
        self.limit_reached = ""
        """That the hours are spent and something is left to do, in words."""
        self._stopping = threading.Event()
        self.requests = Requests(
            self._at_once, partial(self.stop, "stopped"), self._ready_again, self._stopping
        )
        """What users ask for meanwhile."""
        self._asked: StopRequest | None = None
        self.tracking = Tracking(submission, self._at_once.store)
        """What MLflow is told."""
        self._suggestions = (
            None if planned.space is None else Suggestions(submission, planned, planned.space)
        )

    def trials(self) -> list[TrialRecord]:
        """Every trial that there is by now, from any thread; an adaptive search adds to them."""
        return list(self._trials.values())

    def open_trials(self) -> list[TrialFolder]:
        """Trials that this run is going to start or continue."""
        return list(self._open)

    @contextlib.contextmanager
    def opened(self, begun: Callable[[], None] | None = None) -> Iterator[Callable[[], None]]:
        """Hold the lease, a cluster and MLflow's drain; what is given runs the trials to their
        ends, or to a stop that was asked for. `begun` is called once the lease is held.

        To be entered in the main thread, because Ray handles signals there. Raises UserError if
        another driver holds the submission, if its hours are spent, or if not even one trial fits
        on the cluster.
        """
        with held(self._at_once, wait_s=self.planned.study.resources.wait_s) as own:
            self._fence = own.fence
            if not self._options.restarted:
                asked.withdraw(self._at_once)
            self._open.paused = frozenset(asked.paused(self._at_once))
            trials = self.open_trials()
            if trials or self._to_come():
                self.hours.refuse_spent()
            go_on_with(self.submission, self.planned.study, self._options.study_options)
            if begun is not None:
                begun()
            supervision.tell(self.submission)
            # Before MLflow is told anything: another driver may be showing these trials.
            for trial in trials:
                self._claim(trial)
            at_the_end = self.requests.watched_at_the_end
            with self.tracking.followed(self._is_done, self._stopping, at_the_end):
                to_come = self._to_come()
                if not trials and not to_come:
                    yield lambda: None
                    return
                with driver_cluster(self.submission.store.scratch(self.submission.path)) as cluster:
                    images, results = self.planned.data.root, self.submission.store.root
                    refuse_unshared(other_machines(), results=results, images=images)
                    self.room = room = self._room(cluster)
                    room.await_nodes(
                        ran_before=any(trial.status().attempt for trial in trials),
                        restarted=self._options.restarted,
                    )
                    at_once = self.planned.study.resources.concurrent_trials or (
                        len(trials) + to_come
                    )
                    yield lambda: self._run_trials(trials, room, at_once)

    def _check_fence(self) -> None:
        """Raises LeaseLost if another driver has come by now, and OSError at once."""
        if self._fence:
            lease.check_fence(self._at_once.store, self.submission.id, self._fence)

    def _await_fence(self) -> None:
        """The same, with patience for storage that is away."""
        if self._fence:
            lease.check_fence(self.submission.store, self.submission.id, self._fence)

    def _claim(self, trial: TrialFolder) -> None:
        """Raises UserError if another submission runs it."""
        is_own = lease.owns(self.submission, trial)
        lease.claim(trial, self.submission)
        if not is_own:
            control.withdraw_prune(trial)  # by the rule of another study

    def stop(self, state: Literal["stopped", "preempted"], reason: str) -> None:
        """Ask every trial to save a checkpoint and end in `state`, and start no other.

        Raises LeaseLost if they are another driver's by now.
        """
        request = self._asked = StopRequest(state=state, reason=reason)
        self._stopping.set()
        self._await_fence()
        for trial in self.submission.trials():
            # One that has ended here may be another submission's by now.
            if trial.status().state not in DONE and lease.owns(self.submission, trial):
                control.request_stop(trial, request)

    def _is_done(self) -> bool:
        return self.error is None and not self._stopping.is_set() and not self.open_trials()

    def _to_come(self) -> int:
        """Trials that an adaptive search is still going to add."""
        if self._suggestions is None or self._options.only:
            return 0
        return self._suggestions.left * len(self.planned.study.sweep.seeds)

    def _room(self, cluster: Cluster) -> Room:
        study = self.planned.study
        decode = study.data.decode == "tasks"
        return Room(cluster, study.resources, probes=bool(study.probes), decode=decode)

    def _run_trials(self, trials: list[TrialFolder], room: Room, at_once: int) -> None:
        for trial in trials:
            self._make_ready(trial)
        self.requests.look()
        if self._stopping.is_set():
            self._settle(trials)
            return
        any_trial = next(iter(self._trials.values()))
        baselines = Baselines(self.submission, self.planned, any_trial)
        hours, disk = self.hours.watched(self._reach_limit), self.disk.watched(self.trials)
        with hours, disk:
            while True:
                with self.requests.watched():
                    self._tune(trials, room, at_once)
                    baselines.end(at_once=self._stopping.is_set())
                trials = self._settle(trials)
                if not trials:
                    break
        self.baseline_error = baselines.error
        self.left = self._open.left()
        if not self.open_trials() and not self._to_come():
            self.limit_reached = ""  # too late to keep anything from being finished

    def _reach_limit(self, reason: str) -> None:
        self.limit_reached = reason
        self.stop("stopped", reason)

    def _tune(self, trials: list[TrialFolder], room: Room, at_once: int) -> None:
        """Raises NoRoom where there was none for any of them for too long."""
        study = self.planned.study
        refused: list[NoRoom] = []

        def has_place(running: int, waiting: int) -> bool | None:
            if self._stopping.is_set():
                return None
            try:
                return room.has_place(running, waiting)
            except NoRoom as error:  # which Tune would hide
                refused.append(error)
                return None

        told = Told(
            storage=str(self.submission.store.root),
            submission_id=self.submission.id,
            data=str(self.planned.data.root),
            fence=self._fence,
            code_fingerprint=fingerprint(code_zip()),
            resources=study.resources,
        )
        trainable = ray.tune.with_resources(run_trial, {"cpu": TRIAL_CPUS})
        ray.tune.Tuner(
            trainable,
            param_space={"told": told.model_dump(mode="json")},
            tune_config=ray.tune.TuneConfig(
                search_alg=TrialQueue(
                    [self._trials[trial.id] for trial in trials],
                    more=partial(self._more, trials),
                    back=partial(self._put_back, trials),
                    has_place=has_place,
                ),
                num_samples=-1,
                max_concurrent_trials=at_once,
                reuse_actors=True,
                scheduler=scheduler_of(
                    study.sweep.stopping,
                    max_epochs=self._epochs(),
                    ask_to_stop=partial(_ask_to_stop, told),
                    past={trial.id: self._results(trial) for trial in self.submission.trials()},
                    running=[t.id for t in trials if t.status().state not in DONE],
                ),
            ),
            run_config=ray.tune.RunConfig(
                name=f"tune-{self._fence:06d}",
                storage_path=str(self.submission.store.scratch("ray") / self.submission.id),
                verbose=0,
                callbacks=[
                    TrialDeaths(partial(TrialFolder, self._at_once.store), self._check_fence)
                ],
                # Counted by `TrialDeaths`, which looks at how far they came.
                failure_config=ray.tune.FailureConfig(max_failures=-1),
            ),
        ).fit()
        room.close()
        if refused:
            raise refused[0]

    def _results(self, trial: TrialFolder) -> list[ProbeRecord]:
        """What the probes of this submission have said of a trial."""
        return asked_for(trial_spec(self._trials[trial.id].resolved), trial.probes())

    def _make_ready(self, trial: TrialFolder) -> None:
        control.clear(trial)
        status = trial.status()
        if status.ended is not None:
            trial.write_status(status.back())
        elif status.state not in DONE:
            trial.write_status(status.model_copy(update={"state": "pending", "reason": ""}))

    def _put_back(self, running: list[TrialFolder]) -> list[TrialRecord]:
        """Trials that have ended and are resumed; they join those that run."""
        back = self.requests.back()
        running += [TrialFolder(self.submission.store, trial_id) for trial_id in back]
        return [self._trials[trial_id] for trial_id in back]

    def _ready_again(self, trial: TrialFolder) -> bool:
        """Let a trial that is resumed wait for its turn. Raises LeaseLost."""
        if trial.id not in self._trials:
            return False
        self._check_fence()
        try:
            self._claim(trial)
        except UserError as error:  # another submission runs it by now
            TrialLog(trial).write("not resumed", {"reason": str(error)})
            return False
        self._open.put_back(trial)
        self._make_ready(trial)
        return True

    def _more(self, running: list[TrialFolder]) -> list[TrialRecord]:
        """Trials that an adaptive search adds and that have to run; they join those that do.

        Raises LeaseLost.
        """
        self._await_fence()
        while self._to_come() and self._suggestions and not self._stopping.is_set():
            try:
                added = self._suggestions.add()
                trials = [TrialFolder(self.submission.store, record.id) for record in added]
                for trial in trials:
                    self._claim(trial)
            except UserError as error:
                self.error = error  # those that run come to their ends
                return []
            self._trials |= {record.id: record for record in added}
            self.tracking.add_trials(added)
            to_run = [trial for trial in trials if trial in self._open]
            for trial in to_run:
                self._make_ready(trial)
            running += to_run
            if to_run or not added:
                return [self._trials[trial.id] for trial in to_run]
        return []

    def _epochs(self) -> float:
        """Epochs of the trial that has most."""
        return max(
            _epochs(trial_spec(record.resolved).train, self.planned.images[record.id])
            for record in self.planned.trials
        )

    def _settle(self, trials: list[TrialFolder]) -> list[TrialFolder]:
        """Trials whose process could not write its own end get a true status; those that were
        resumed too late for Tune to start them again are returned.

        Raises ConnectionError, and leaves them as they are, if they lost the cluster and not it
        them; LeaseLost if they are another driver's.
        """
        if not answers(LOST_S):
            raise ConnectionError("the Ray cluster does not answer any more")
        self._await_fence()
        left = StopRequest(state="stopped", reason="its process left it: see log.jsonl")
        back = self.requests.back()
        for trial in trials:
            status = trial.status()
            ended = status.state not in lease.UNDER_WAY or not lease.owns(self.submission, trial)
            if status.ended is not None and not ended:
                trial.write_status(status.back())
            elif trial.id not in back and not ended:
                end = control.stop_request(trial) or self._asked or left
                update = {"state": end.state, "reason": end.reason}
                trial.write_status(status.model_copy(update=update))
        self.requests.look()
        back += self.requests.back()
        return [TrialFolder(self.submission.store, trial_id) for trial_id in back]


def _ask_to_stop(told: Told, trial_id: str, reason: str) -> None:
    """No method: Tune pickles the scheduler and what it calls. Raises LeaseLost."""
    store = Store(told.storage).patient(told.resources.wait_s)
    lease.check_fence(store, told.submission_id, told.fence)
    control.request_prune(TrialFolder(store, trial_id), reason)


def _epochs(config: TrainConfig, num_images: int) -> float:
    steps = total_steps(config.budget, num_images, config.batch_size)
    return steps * config.batch_size / num_images
