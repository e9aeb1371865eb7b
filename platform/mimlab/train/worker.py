"""What runs in each Ray Train worker: build a trial's parts, go on from its checkpoint, train."""

from __future__ import annotations

import traceback
from contextlib import suppress
from functools import partial

import ray.train
import ray.train.collective
import ray.train.torch
from ray.data import DataIterator

from mimlab.data.segments import Place
from mimlab.errors import TrialError
from mimlab.storage.control import Outcome, read_outcome, write_outcome
from mimlab.storage.folders import TrialFolder
from mimlab.storage.lease import LeaseLost, begin_group
from mimlab.storage.patience import OutOfPatience
from mimlab.storage.store import Store
from mimlab.train.log import TrialLog
from mimlab.train.session import Session
from mimlab.train.worker_config import WorkerConfig
from mimlab_objectives.registry import ParamsError


def train_on_worker(config: dict) -> None:
    """Entry point of a Ray Train worker; `config` is a `WorkerConfig` in JSON form.

    A trial that cannot go on, or whose parts cannot be built here (a teacher's weights that are
    gone or others), is an outcome, written down so that workers which are started again
    end at once; with several workers it is raised besides, because the others may be waiting for
    this one. Workers that were asked to pause leave none. Any other error may have come from a peer
    that died: it is raised, and Ray Train starts the workers again from the last checkpoint.
    """
    told = WorkerConfig.model_validate(config)
    at_once = Store(told.storage)
    fence = partial(told.check_fence, at_once)
    trial = TrialFolder(at_once.patient(told.wait_s, fence), told.trial_id)
    if read_outcome(trial) is not None or _superseded(told, trial):
        return
    context = ray.train.get_context()
    place = Place(context.get_world_rank(), context.get_world_size(), _share_iterators)
    try:
        if place.rank == 0:
            told = told.model_copy(update={"group": begin_group(trial)})
        outcome = Session(told, trial, place, ray.train.torch.get_device()).run()
        if place.rank == 0 and outcome.state != "pending":
            write_outcome(trial, outcome)
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
    except OutOfPatience as error:
        _stopped(TrialFolder(at_once, trial.id), error)
        if place.world > 1:
            raise  # the others may be waiting for this one
        return
    except Exception:
        TrialLog(trial).write("error", {"rank": place.rank, "traceback": traceback.format_exc()})
        raise


def _stopped(trial: TrialFolder, error: OutOfPatience) -> None:
    """The trial goes on when it is resumed; this much may fit into the storage, or not."""
    TrialLog(trial).write("stopped", {"reason": str(error)})
    with suppress(OSError):
        write_outcome(trial, Outcome(state="stopped", reason=str(error)))


def _superseded(told: WorkerConfig, trial: TrialFolder) -> bool:
    try:
        told.check_fence(trial.store)
    except LeaseLost:
        return True
    return False


def _share_iterators(iterators: list[DataIterator] | None) -> list[DataIterator]:
    shared = ray.train.collective.broadcast_from_rank_zero(iterators)
    assert shared is not None  # rank 0 opened them
    return shared
