"""A submission's parent run."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from mlflow import MlflowClient
from mlflow.entities import Metric, Run

import mimlab
from mimlab.storage.folders import SubmissionFolder, now
from mimlab.storage.records import ProbeRecord, SubmissionRecord, TrialRecord, TrialState
from mimlab.storage.store import Store
from mimlab.track import dashboard, labels, tags
from mimlab.track.experiment_page import ExperimentPage
from mimlab.track.items import Items
from mimlab.track.note import Shown, submission_note
from mimlab.track.probe_mark import ProbeMark
from mimlab.track.probes import read_probes
from mimlab.track.refused import Refused
from mimlab.track.report import Report
from mimlab.track.runs import (
    RunPlan,
    link_name,
    open_experiment,
    open_run,
    set_status,
    set_tags,
    unix_ms,
)
from mimlab.track.sent import Sent
from mimlab.track.status import RunStatus
from mimlab.track.trial_run import Parent, TrialRun


def open_submission(
    client: MlflowClient,
    store: Store,
    uri: str,
    submission: SubmissionRecord,
    refused: Refused,
    sent: Sent,
) -> SubmissionRun:
    """The submission's run in its study's experiment, with its files."""
    experiment_id = open_experiment(client, uri, submission.study)
    folder = SubmissionFolder(store, submission.id)
    link = link_name(uri, own=uri == submission.tracking_uri)
    plan = RunPlan(
        link=folder.file(link),
        identified_by=tags.SUBMISSION_ID,
        name=submission.id,
        tags=_first_tags(submission),
        started=lambda: unix_ms(submission.created),
    )
    run = open_run(client, store, uri, experiment_id, plan, sent)
    address = _dashboard(client, run, submission)
    items = Items(client, run.info.run_id, "the submission", refused)
    parent = Parent(
        client=client,
        store=store,
        uri=uri,
        link=link,
        experiment_id=run.info.experiment_id,
        run_id=run.info.run_id,
        submission_id=submission.id,
        dashboard=address,
        refused=refused,
        sent=sent,
    )
    return SubmissionRun(parent, submission, run, items)


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


def _dashboard(client: MlflowClient, run: Run, submission: SubmissionRecord) -> str:
    """Address of the dashboard: what this process is told, else what the run remembers."""
    known, told = run.data.tags.get(tags.DASHBOARD, ""), dashboard.told()
    if told and told != known:
        note = submission_note(submission, told)
        set_tags(client, run.info.run_id, {tags.DASHBOARD: told, tags.NOTE: note})
    return told or known


class SubmissionRun:
    """The parent run: baselines, report, the experiment's page, a status made of the trials'."""

    def __init__(
        self, parent: Parent, submission: SubmissionRecord, run: Run, items: Items
    ) -> None:
        self.parent = parent
        self._submission = submission
        self._client = parent.client
        self._items = items
        self._status = run.info.status
        self._opened = tags.OPENED in run.data.tags
        self._mark = ProbeMark(parent.client, run)
        self._page = ExperimentPage(parent.client, parent.experiment_id, submission, items)
        folder = SubmissionFolder(parent.store, submission.id)
        self._report = Report(parent.client, run, folder, items)

    def sync_files(self) -> None:
        """Send what describes the submission, once."""
        if self._opened:
            return
        folder = SubmissionFolder(self.parent.store, self._submission.id)
        environment = self._submission.environment
        texts = {"git.diff": environment.get("git.diff", "")}
        if folder.store.exists(folder.file("study.yaml")):
            texts["study.yaml"] = folder.store.read(folder.file("study.yaml")).decode()
        run_id, name = self.parent.run_id, "environment.json"
        sent = [self._items.send(name, partial(self._client.log_dict, run_id, environment, name))]
        for name, text in texts.items():
            if text:
                log = partial(self._client.log_text, run_id, text, name)
                sent.append(self._items.send(name, log))
        if all(sent):
            set_tags(self._client, run_id, {tags.OPENED: "true"})
            self._opened = True

    def sync_baselines(self) -> None:
        """Send the probes of the untrained encoder and of raw pixels."""
        folder = SubmissionFolder(self.parent.store, self._submission.id).file("baselines")
        new = read_probes(self.parent.store, folder, self._mark.names)
        for name, record in self._mark.missing(new).items():
            if self._items.send(f"baseline {name}", partial(self._send, record)):
                self._mark.sent(name, record)
                self.parent.sent.probes += 1
        self._mark.keep()

    def _send(self, record: ProbeRecord) -> None:
        metrics = [
            Metric(labels.name_key(key), value, record.time_ms, record.step)
            for key, value in record.metrics.items()
        ]
        self._client.log_batch(self.parent.run_id, metrics=metrics, synchronous=True)

    def sync_report(self, states: dict[str, TrialState], *, last: bool) -> None:
        """Send the report, as `mimlab.track.report.Report.sync` has it."""
        self._report.sync(states, last=last)

    def write_page(self, trials: Sequence[TrialRecord], runs: Sequence[TrialRun]) -> None:
        """Keep the experiment's note and views in step with the trials and runs that there are."""
        shown = Shown(
            experiment_id=self.parent.experiment_id,
            parent_id=self.parent.run_id,
            run_ids=tuple(run.run_id for run in runs),
            experiment_ids=tuple(sorted({run.experiment_id for run in runs})),
            dashboard=self.parent.dashboard,
            report=self._report.there,
            boards=tuple(run.boards for run in runs),
        )
        self._page.write(trials, shown)

    def show(self, status: RunStatus) -> None:
        if status != self._status:
            set_status(self._client, self.parent.run_id, status, ended=now())
            self._status = status
            self.parent.sent.statuses += 1
