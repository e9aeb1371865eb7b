"""What runs in each Ray Train worker: build a trial's parts, go on from its checkpoint, train."""

from __future__ import annotations

import traceback

import ray.train
import ray.train.collective
import ray.train.torch
from ray.data import DataIterator

from mimlab.data.segments import Place
from mimlab.errors import TrialError
from mimlab.storage.control import Outcome, read_outcome, write_outcome
from mimlab.storage.folders import TrialFolder
from mimlab.storage.lease import LeaseLost, check_fence
from mimlab.storage.store import Store
from mimlab.train.log import TrialLog
from mimlab.train.session import Session, WorkerConfig
from mimlab_objectives.registry import ParamsError


def train_on_worker(config: dict) -> None:
    """Entry point of a Ray Train worker; `config` is a `WorkerConfig` in JSON form.

    A trial that cannot go on, or whose parts cannot be built here (a teacher's weights that are
    gone or others), is an outcome, written down so that workers which are started again
    end at once; with several workers it is raised besides, because the others may be waiting for
    this one. Any other error may have come from a peer that died: it is raised, and Ray Train
    starts the workers again from the last checkpoint.
    """
    told = WorkerConfig.model_validate(config)
    trial = TrialFolder(Store(told.storage), told.trial_id)
    if read_outcome(trial) is not None or _superseded(told, trial):
        return
    context = ray.train.get_context()
    place = Place(context.get_world_rank(), context.get_world_size(), _share_iterators)
    try:
        outcome = Session(told, trial, place, ray.train.torch.get_device()).run()
    except (TrialError, ParamsError) as error:
        state = error.state if isinstance(error, TrialError) else "failed"
        write_outcome(trial, Outcome(state=state, reason=str(error)))
        if place.world > 1:
            raise RuntimeError(str(error)) from error
        return
    except LeaseLost:
        if place.world > 1:
            raise  # the others may be waiting for this one
        return
    except Exception:
        TrialLog(trial).write("error", {"rank": place.rank, "traceback": traceback.format_exc()})
        raise
    if place.rank == 0:
        write_outcome(trial, outcome)


def _superseded(told: WorkerConfig, trial: TrialFolder) -> bool:
    try:
        check_fence(trial.store, told.submission_id, told.fence)
    except LeaseLost:
        return True
    return False


def _share_iterators(iterators: list[DataIterator] | None) -> list[DataIterator]:
    shared = ray.train.collective.broadcast_from_rank_zero(iterators)
    assert shared is not None  # rank 0 opened them
    return shared
