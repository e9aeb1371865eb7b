"""What a submission's probes say of encoders that nobody trained, measured beside its trials."""

from __future__ import annotations

import ray
from ray.exceptions import RayError

from mimlab.probe.due import reads_of
from mimlab.probe.remote import OWN_PROCESSES, probe_baselines
from mimlab.probe.task import ProbeOrder, missing_baselines
from mimlab.search.placement import PROBE_CPUS
from mimlab.search.submission import PlannedStudy
from mimlab.spec.study import trial_spec
from mimlab.storage.folders import SubmissionFolder
from mimlab.storage.records import TrialRecord


class Baselines:
    """Those that are missing, in a task of its own from now on."""

    def __init__(
        self, submission: SubmissionFolder, planned: PlannedStudy, trial: TrialRecord
    ) -> None:
        """`trial`: any, whose probes and data are those of all."""
        self.error = ""
        """Why they could not be measured."""
        self._task: ray.ObjectRef | None = None
        spec = trial_spec(trial.resolved)
        if not missing_baselines(submission, spec.probes, reads_of(spec)):
            return
        order = ProbeOrder(
            storage=str(submission.store.root),
            spec=trial.resolved,
            data=str(planned.data.root),
            threads=1,
            use_gpu=planned.study.resources.gpus_per_worker > 0,
            wait_s=planned.study.resources.wait_s,
        )
        task = ray.remote(num_cpus=PROBE_CPUS, runtime_env=OWN_PROCESSES)(probe_baselines)
        self._task = task.remote(order.model_dump(mode="json"), submission.id)

    def end(self, *, at_once: bool) -> None:
        """Wait for them, or give them up."""
        if self._task is None:
            return
        if at_once:
            ray.cancel(self._task, force=True)  # of low priority: it may not come to hear of less
            return
        try:
            ray.get(self._task)
        except RayError as error:
            self.error = str(error).strip().splitlines()[-1]
