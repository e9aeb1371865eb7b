"""Where the files of a submission and of a trial lie, and their records."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from mimlab.errors import UserError
from mimlab.storage.records import (
    MlflowLink,
    ProbeRecord,
    StatusRecord,
    SubmissionRecord,
    TrialRecord,
    TrialsRecord,
)
from mimlab.storage.store import Store

_STEP = re.compile(r"step_(\d{9})$")


def now() -> str:
    """UTC, ISO 8601, to the second: for people, never for order."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def step_name(step: int) -> str:
    """Folder name of a step: sorts as numbers do."""
    return f"step_{step:09d}"


class TrialFolder:
    """One trial's files."""

    def __init__(self, store: Store, trial_id: str) -> None:
        self.store = store
        self.id = trial_id
        self.path = f"trials/{trial_id}"

    def file(self, name: str) -> str:
        return f"{self.path}/{name}"

    def record(self) -> TrialRecord:
        """Raises UserError if the trial does not exist."""
        record = self.store.read_record(self.file("trial.json"), TrialRecord)
        if record is None:
            raise UserError(f"{self.store.root}: there is no trial {self.id!r}")
        return record

    def status(self) -> StatusRecord:
        """`pending` where nothing has been written yet."""
        found = self.store.read_record(self.file("status.json"), StatusRecord)
        return found or StatusRecord(state="pending")

    def write_status(self, status: StatusRecord) -> None:
        self.store.write_record(
            self.file("status.json"), status.model_copy(update={"updated": now()})
        )

    def steps(self, kind: str) -> list[int]:
        """Steps that have a folder under `kind` (`checkpoints`, `exports`), ascending."""
        matches = (_STEP.match(name) for name in self.store.list(self.file(kind)))
        return sorted(int(match.group(1)) for match in matches if match)

    def probes(self) -> list[ProbeRecord]:
        """Every probe result, by step and name."""
        names = self.store.list(self.file("probes"))
        records = [self.store.read_record(self.file(f"probes/{n}"), ProbeRecord) for n in names]
        return sorted((r for r in records if r), key=lambda r: (r.step, r.probe))

    def mlflow(self) -> MlflowLink | None:
        return self.store.read_record(self.file("mlflow.json"), MlflowLink)


class SubmissionFolder:
    """One submission's files."""

    def __init__(self, store: Store, submission_id: str) -> None:
        self.store = store
        self.id = submission_id
        self.path = f"submissions/{submission_id}"

    def file(self, name: str) -> str:
        return f"{self.path}/{name}"

    def record(self) -> SubmissionRecord:
        """Raises UserError, naming what there is, if the submission does not exist."""
        record = self.store.read_record(self.file("submission.json"), SubmissionRecord)
        if record is None:
            known = ", ".join(self.store.list("submissions")[-5:]) or "none yet"
            raise UserError(
                f"{self.store.root}: there is no submission {self.id!r}; the latest are: {known}"
            )
        return record

    def trials(self) -> list[TrialFolder]:
        """Those that it was made with, then those that an adaptive search has added."""
        added = self.store.read_record(self.file("trials.json"), TrialsRecord)
        ids = [*self.record().trial_ids, *(trial.id for trial in (added.trials if added else []))]
        return [TrialFolder(self.store, trial_id) for trial_id in dict.fromkeys(ids)]

    def trial_records(self) -> list[TrialRecord]:
        """The trials as this submission's study has them. Raises UserError if they are missing."""
        record = self.store.read_record(self.file("trials.json"), TrialsRecord)
        if record is None:
            raise UserError(f"{self.store.place(self.path)}: its trials.json is missing")
        return record.trials

    def mlflow(self) -> MlflowLink | None:
        return self.store.read_record(self.file("mlflow.json"), MlflowLink)


def submissions(store: Store) -> list[SubmissionFolder]:
    """Every submission, oldest first."""
    folders = [SubmissionFolder(store, name) for name in store.list("submissions")]
    return [folder for folder in folders if store.exists(folder.file("submission.json"))]


def find_submission(store: Store, name: str) -> SubmissionFolder:
    """A submission by its id, or a study's latest by the study's name. Raises UserError."""
    folder = SubmissionFolder(store, name)
    if store.exists(folder.file("submission.json")):
        return folder
    of_study = [found for found in submissions(store) if found.record().study == name]
    if of_study:
        return of_study[-1]
    folder.record()
    raise AssertionError("a submission without a record was found")
