"""What a submission holds at most, from its study."""

from __future__ import annotations

from mimlab.serve.queue.records import Need
from mimlab.spec.study import Resources, study_model
from mimlab.spec.sweep import OptunaSearch
from mimlab.storage.folders import SubmissionFolder


def need_of(folder: SubmissionFolder) -> Need:
    """Of a submission that is to run. Raises UserError if there is none."""
    trials = len(folder.record().trial_ids)
    study = study_model().model_validate_json(folder.store.read(folder.file("resolved.json")))
    if isinstance(study.sweep.search, OptunaSearch):
        trials = max(trials, study.sweep.search.num_trials * len(study.sweep.seeds))
    return need(study.resources, trials)


def need(resources: Resources, trials: int) -> Need:
    """Of so many trials, as many at once as there may be, with the most workers of each."""
    at_once = min(trials, resources.concurrent_trials or trials)
    workers = at_once * resources.most_workers
    gpus = workers * resources.gpus_per_worker
    return Need(gpus=gpus, cpus=0.0 if gpus else workers * resources.cpus_per_worker)
