"""How a trial was run: by which submission, with which code, and on what."""

from __future__ import annotations

import torch

from mimlab.search.fingerprint import code_zip, fingerprint
from mimlab.spec.study import TrialSpec, study_model, trial_spec
from mimlab.storage.folders import SubmissionFolder, TrialFolder
from mimlab.storage.records import OwnerRecord
from mimlab.train.replay import RunAs


def run_as(trial: TrialFolder) -> RunAs:
    """A trial as the submission has it that ran it last. Raises UserError.

    Where no submission has begun to run it, as its own record has it.
    """
    owner = trial.store.read_record(trial.file("owner.json"), OwnerRecord)
    here = fingerprint(code_zip())
    if owner is None:
        spec = trial_spec(trial.record().resolved)
        return RunAs(spec, torch.device("cpu"), cpus=1.0, code_fingerprint=here)
    submission = SubmissionFolder(trial.store, owner.submission)
    resolved = trial.store.read(submission.file("resolved.json"))
    resources = study_model().model_validate_json(resolved).resources
    on_gpu = resources.gpus_per_worker > 0
    device = torch.device("cuda" if on_gpu and torch.cuda.is_available() else "cpu")
    notes = []
    if on_gpu and device.type == "cpu":
        notes.append("it trained on a GPU, and this is a CPU: the same to rounding only")
    if resources.workers != 1:
        notes.append(
            "it trained on several workers, and this is one process: sums have another order, and "
            "other paths are dropped where the backbone has a drop_path"
        )
    return RunAs(
        _spec(trial, submission),
        device,
        cpus=resources.cpus_per_worker,
        code_fingerprint=here,
        submitted_code=submission.record().code_fingerprint,
        notes=notes,
    )


def _spec(trial: TrialFolder, submission: SubmissionFolder) -> TrialSpec:
    """What changes no result, such as how often is logged, may differ between submissions."""
    own = [record for record in submission.trial_records() if record.id == trial.id]
    return trial_spec((own or [trial.record()])[0].resolved)
