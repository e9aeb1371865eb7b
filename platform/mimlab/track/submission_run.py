"""A submission's parent run."""

from __future__ import annotations

from mlflow import MlflowClient
from mlflow.entities import Metric

import mimlab
from mimlab.storage.folders import SubmissionFolder, now
from mimlab.storage.records import SubmissionRecord
from mimlab.storage.store import Store
from mimlab.track import labels, tags
from mimlab.track.note import experiment_note
from mimlab.track.probes import read_probes
from mimlab.track.runs import RunPlan, open_experiment, open_run, set_status, set_tags, unix_ms
from mimlab.track.status import RunStatus
from mimlab.track.trial_run import Parent, TrialRun


def open_submission(
    client: MlflowClient, store: Store, uri: str, submission: SubmissionRecord
) -> SubmissionRun:
    """The submission's run in its study's experiment, with its files."""
    experiment_id = open_experiment(client, uri, submission.study)
    folder = SubmissionFolder(store, submission.id)
    plan = RunPlan(
        link=folder.file("mlflow.json"),
        identified_by=tags.SUBMISSION_ID,
        name=submission.id,
        tags=_first_tags(submission),
        started=lambda: unix_ms(submission.created),
    )
    run = open_run(client, store, uri, experiment_id, plan)
    run_id = run.info.run_id
    if tags.OPENED not in run.data.tags:
        client.log_dict(run_id, submission.environment, "environment.json")
        if diff := submission.environment.get("git.diff"):
            client.log_text(run_id, diff, "git.diff")
        if store.exists(folder.file("study.yaml")):
            study = store.read(folder.file("study.yaml")).decode()
            client.log_text(run_id, study, "study.yaml")
        set_tags(client, run_id, {tags.OPENED: "true"})
    parent = Parent(client, store, uri, run.info.experiment_id, run_id, submission.id)
    return SubmissionRun(parent, submission, status=run.info.status)


def _first_tags(submission: SubmissionRecord) -> dict[str, str]:
    values = {
        tags.SUBMISSION_ID: submission.id,
        tags.NOTE: submission.question,
        "mimlab.question": submission.question,
        "mimlab.study_hash": submission.study_hash,
        "mimlab.code_fingerprint": submission.code_fingerprint,
        "mimlab.version": mimlab.__version__,
        "mlflow.user": submission.user,
        "mlflow.source.name": submission.study_file,
        "mlflow.source.git.commit": submission.environment.get("git.commit", ""),
    }
    return {key: value[: labels.MAX_TAG] for key, value in values.items() if value}


class SubmissionRun:
    """The parent run: the baselines, the experiment's note and a status made of the trials'."""

    def __init__(self, parent: Parent, submission: SubmissionRecord, *, status: str) -> None:
        self.parent = parent
        self._submission = submission
        self._client = parent.client
        self._status = status
        self._baselines: set[str] = set()
        self._noted: list[str] = []

    def sync_baselines(self) -> None:
        """Send the probes of the untrained encoder and of raw pixels."""
        folder = SubmissionFolder(self.parent.store, self._submission.id).file("baselines")
        new = read_probes(self.parent.store, folder, self._baselines)
        for name, record in new.items():
            if record.error:
                continue
            metrics = [
                Metric(labels.name_key(key), value, record.time_ms, record.step)
                for key, value in record.metrics.items()
            ]
            self._client.log_batch(self.parent.run_id, metrics=metrics, synchronous=True)
            self._baselines.add(name)

    def write_note(self, trials: list[TrialRun]) -> None:
        """Keep the experiment's note in step with the runs that there are."""
        run_ids = [trial.run_id for trial in trials]
        if run_ids == self._noted:
            return
        note = experiment_note(
            self._submission,
            experiment_id=self.parent.experiment_id,
            run_ids=run_ids,
            experiment_ids=sorted({trial.experiment_id for trial in trials}),
        )
        self._client.set_experiment_tag(self.parent.experiment_id, tags.NOTE, note)
        self._noted = run_ids

    def show(self, status: RunStatus) -> None:
        if status != self._status:
            set_status(self._client, self.parent.run_id, status, ended=now())
            self._status = status
