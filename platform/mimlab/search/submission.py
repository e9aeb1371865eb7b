"""From a validated study to a submission folder: created, or the unfinished one continued."""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import re
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol, runtime_checkable

from mimlab.data.builtin import resolve_images
from mimlab.data.manifest import DataSet
from mimlab.data.sidecar import training_fingerprints
from mimlab.data.subset import Subset, training_split
from mimlab.errors import UserError
from mimlab.search.cluster import local_capacity
from mimlab.search.costs import Measured
from mimlab.search.environment import describe_environment
from mimlab.search.fingerprint import code_zip, fingerprint
from mimlab.search.frozen import only_warms_up, with_tokens_frozen
from mimlab.search.head import named_head
from mimlab.search.initial import initial_weights
from mimlab.search.labels import LabelCheck
from mimlab.search.placement import concurrent_trials
from mimlab.search.sidecars import sidecar_check
from mimlab.spec.checks import legal_trials
from mimlab.spec.errors import Problem, refuse
from mimlab.spec.expand import Trial, refuse_points
from mimlab.spec.identity import identity
from mimlab.spec.load import LoadedStudy
from mimlab.spec.resolve import study_hash
from mimlab.spec.space import Space, num_trials, space_of
from mimlab.spec.study import DataConfig, Study, TrialSpec, study_model, trial_spec
from mimlab.spec.sweep import OptunaSearch
from mimlab.storage.bucket_files import check_writable
from mimlab.storage.folders import SubmissionFolder, TrialFolder, now, submissions
from mimlab.storage.records import (
    DONE,
    SpaceRecord,
    SubmissionRecord,
    TrialRecord,
    TrialsRecord,
)
from mimlab.storage.remote_path import RemotePath
from mimlab.storage.store import Store
from mimlab.storage.weights import keep_weights
from mimlab.track.uri import resolve_tracking
from mimlab.user import this_user


@dataclass(frozen=True)
class PlannedStudy:
    """A study that is ready to run: legal, its data found, its trials identified."""

    study: Study
    data: DataSet
    trials: list[TrialRecord]
    images: dict[str, int]
    """Images that each trial trains on, by its id. Hours may not have become steps yet:
    `mimlab.search.hours`."""
    weights: tuple[bytes, ...] = ()
    """safetensors files that the trials' encoders start from."""
    space: Space | None = None
    """What an adaptive search chooses further trials from."""
    measured: Mapping[str, Measured] = field(default_factory=dict)
    """What a trial of a shape takes (`shape_of`), where that has been measured already."""

    @property
    def num_trials(self) -> int:
        """In all, those included that a search has yet to choose."""
        return num_trials(self.study, self.trials)


def storage_of(study: Study) -> Store:
    """The storage of a resolved study."""
    assert study.storage is not None
    return Store(study.storage)


def plan_study(loaded: LoadedStudy, *, here: bool = True) -> PlannedStudy:
    """Expand and check a study against its data and this machine. Raises UserError.

    `here`: whether it runs on this machine, so that one trial must fit on it at least.

    Takes no resource and writes nothing, but makes a built-in data set on first use, below the
    storage folder.
    """
    trials = legal_trials(loaded)
    study = loaded.study
    resolve_tracking(study.tracking.uri, str(storage_of(study).root))
    _check_storage(storage_of(study))
    data = DataSet.open(resolve_images(study.data.images, storage_of(study).scratch("data")))
    splits = study.data.splits
    for name in (splits.train, splits.probe_fit, splits.probe_test):
        data.split(name)
    if any(probe.label_maps is None for probe in study.probes) and not data.classes:
        raise UserError(
            f"{data.root}: no image has a label, so there is nothing to probe; import the images "
            "with their classes, or leave `probes` out"
        )
    count = image_counter(data)
    labels = LabelCheck(data)
    found = [(trial.settings, p) for trial in trials for p in subset_problems(trial.spec, count)]
    sidecars = sidecar_check(data)
    for check in (labels, sidecars):
        found += [(trial.settings, p) for trial in trials for p in check(trial.spec)]
    refuse_points(found, len(trials), loaded.source, remedy=False)
    initial = initial_weights(loaded, trials, storage_of(study))
    space = _space(loaded, initial.resolved(trials[0].spec))
    records = [record_of(study, t, initial.resolved(t.spec), data, space) for t in trials]
    weights = tuple(found.data for found in initial.found.values())
    planned = _planned(study, data, records, count, weights, space)
    if here and named_head() is None:  # what a cluster has, it says when it is joined
        trials_at_once(planned)
    refuse_warmups(loaded, planned)
    return planned


def refuse_warmups(loaded: LoadedStudy, planned: PlannedStudy) -> None:
    """Raises UserError where a budget that became steps ends before its warm-up."""
    at = ("train", "warmup_epochs")
    words = (only_warms_up(record, planned.images[record.id]) for record in planned.trials)
    refuse((Problem(at, found) for found in words if found), loaded.where)


def _space(loaded: LoadedStudy, first: TrialSpec) -> Space | None:
    """The space of an adaptive search, its encoder's weights by their hash."""
    if not isinstance(loaded.study.sweep.search, OptunaSearch):
        return None
    space = space_of(loaded)
    if first.backbone.init is None:
        return space
    backbone = space.base.get("backbone", {}) | {"init": first.backbone.init}
    return dataclasses.replace(space, base=space.base | {"backbone": backbone})


_SECOND = "%Y%m%d-%H%M%S"
_STAMP = re.compile(r"-(\d{8}-\d{6})")

Count = Callable[[DataConfig], int]
"""Gives the number of images that a trial trains on."""


def image_counter(data: DataSet) -> Count:
    """Chooses each subset once: several trials mostly share it."""

    @functools.cache
    def count(split: str, subset: Subset | None) -> int:
        return training_split(data, split, subset).num_rows

    return lambda config: count(config.splits.train, config.subset)


def subset_problems(spec: TrialSpec, count: Count) -> Iterator[Problem]:
    """What is wrong with the part of the data that a trial trains on."""
    if spec.data.subset is None:
        return
    at = ("data", "subset")
    try:
        images = count(spec.data)
    except UserError as error:
        yield Problem(at, str(error))
        return
    if images < spec.train.batch_size:
        yield Problem(
            at,
            f"{images} of the images do not fill a batch of {spec.train.batch_size}; take a larger "
            "subset or a smaller train.batch_size",
        )


def _planned(
    study: Study,
    data: DataSet,
    trials: list[TrialRecord],
    count: Count,
    weights: tuple[bytes, ...] = (),
    space: Space | None = None,
) -> PlannedStudy:
    images = {trial.id: count(trial_spec(trial.resolved).data) for trial in trials}
    return PlannedStudy(study, data, trials, images, weights, space)


def retrialled(planned: PlannedStudy, trials: Sequence[TrialRecord]) -> PlannedStudy:
    """The same study with other records of its trials, in their order; none reads other images."""
    images = {
        new.id: planned.images[old.id] for old, new in zip(planned.trials, trials, strict=True)
    }
    return replace(planned, trials=list(trials), images=images)


def trials_at_once(planned: PlannedStudy) -> int:
    """Trials that run at once on this machine. Raises UserError if not even one fits."""
    study = planned.study
    return concurrent_trials(
        study.resources,
        local_capacity(),
        num_trials=planned.num_trials,
        probes=bool(study.probes),
        decode=study.data.decode == "tasks",
    )


def _check_storage(store: Store) -> None:
    if isinstance(store.root, RemotePath):
        check_writable(store.root)
        return
    exists = next(path for path in (store.root, *store.root.parents) if path.exists())
    if not exists.is_dir():
        raise UserError(f"storage: {exists} is a file; results need a folder")
    if not os.access(exists, os.W_OK):
        raise UserError(f"storage: {exists} may not be written to; name another folder")


def record_of(
    study: Study, trial: Trial, spec: TrialSpec, data: DataSet, space: Space | None
) -> TrialRecord:
    """A trial as the storage has it; `spec` is its final form, but for a budget in tokens."""
    sidecars = training_fingerprints(spec.data.beside)
    trial_id, flat = identity(spec, data.fingerprint, sidecars)
    record = TrialRecord(
        id=trial_id,
        study=study.study,
        seed=spec.seed,
        point=trial.point,
        resolved=spec.model_dump(mode="json"),
        identity=flat,
        coordinates=space.coordinates(trial.settings) if space else {},
    )
    return with_tokens_frozen(record)


def reopen(folder: SubmissionFolder) -> PlannedStudy:
    """The study of an existing submission, as it was submitted. Raises UserError."""
    store = folder.store
    record = folder.record()
    study = study_model().model_validate_json(store.read(folder.file("resolved.json")))
    data = DataSet.open(resolve_images(study.data.images, store.scratch("data")))
    trials = folder.trial_records()
    for trial in trials:
        spec = trial_spec(trial.resolved)
        sidecars = training_fingerprints(spec.data.beside)
        start = trial.start and trial.start.identified
        found, _ = identity(spec, data.fingerprint, sidecars, start)
        if found != trial.id:
            raise UserError(
                f"{data.root}: the data or mimlab's parts have changed since submission "
                f"{folder.id} was made; run {record.study_file} as a new one with --new"
            )
    return _planned(study, data, trials, image_counter(data), space=_space_in(folder, study))


def _space_in(folder: SubmissionFolder, study: Study) -> Space | None:
    found = folder.store.read_record(folder.file("space.json"), SpaceRecord)
    return found and Space(study.sweep, found.base, study.resources, Path(found.folder))


def unfinished(store: Store, planned: PlannedStudy) -> SubmissionFolder | None:
    """The latest submission of the same resolved study that still has something to do.

    Its trials must be the same, too: data or weights may have changed behind their names.
    """
    wanted = study_hash(planned.study), _ids(planned)
    for folder in reversed(submissions(store)):
        record = folder.record()
        same = (record.study_hash, record.trial_ids) == wanted
        trials = folder.trials() if same else []
        more = planned.space is not None and len(trials) < planned.num_trials
        if same and (more or any(trial.status().state not in DONE for trial in trials)):
            return folder
    return None


@dataclass(frozen=True)
class Named:
    """What a submission is called by, and whose it is; null: decided when it is written."""

    id: str | None = None
    user: str | None = None


def existing(store: Store, submission_id: str) -> SubmissionFolder | None:
    """The submission of an id, if it is written; a driver that died may have come so far."""
    folder = SubmissionFolder(store, submission_id)
    return folder if store.exists(folder.file("submission.json")) else None


@runtime_checkable
class StudyFile(Protocol):
    """What a submission keeps of the file that it was made of."""

    @property
    def path(self) -> Path: ...
    @property
    def text(self) -> str: ...
    @property
    def options(self) -> list[str]: ...


def create(
    store: Store, planned: PlannedStudy, file: StudyFile, named: Named | None = None
) -> SubmissionFolder:
    """Write a new submission's folder and those of its trials; the submission's record last."""
    named = named or Named()
    folder = (
        new_submission(store, planned.study.study)
        if named.id is None
        else SubmissionFolder(store, named.id)
    )
    for weights in planned.weights:
        keep_weights(store, weights)
    if planned.space is not None:
        space = SpaceRecord(base=planned.space.base, folder=str(planned.space.folder))
        store.write_record(folder.file("space.json"), space)
    write_submission(folder, planned.study, planned.trials, file, user=named.user)
    return folder


def write_submission(
    folder: SubmissionFolder,
    study: Study,
    trials: Sequence[TrialRecord],
    file: StudyFile,
    *,
    user: str | None = None,
) -> None:
    """The files of a submission and of its trials, of records that are ready; its own last."""
    store, code = folder.store, code_zip()
    store.write(folder.file("study.yaml"), file.text.encode())
    store.write(folder.file("code.zip"), code)
    _write_resolved(folder, study)
    store.write_record(folder.file("trials.json"), TrialsRecord(trials=list(trials)))
    for record in trials:
        store.create(TrialFolder(store, record.id).file("trial.json"), record.to_bytes())
    record = SubmissionRecord(
        id=folder.id,
        study=study.study,
        question=study.question,
        study_hash=study_hash(study),
        study_file=str(file.path.absolute()),
        options=file.options,
        trial_ids=list(dict.fromkeys(trial.id for trial in trials)),
        created=now(),
        user=user or this_user(),
        host=socket.gethostname(),
        code_fingerprint=fingerprint(code),
        tracking_uri=study.tracking.uri or "",
        environment=describe_environment(),
    )
    store.write_record(folder.file("submission.json"), record)


def go_on_with(folder: SubmissionFolder, study: Study, options: list[str] | None) -> None:
    """Let a submission go on with other resources than it began with, e.g. a raised limit.

    `options`: how its file is changed on the command line now; None: as before.
    """
    _write_resolved(folder, study)
    record = folder.record()
    if options is not None and options != record.options:
        changed = record.model_copy(update={"options": options})
        folder.store.write_record(folder.file("submission.json"), changed)


def _write_resolved(folder: SubmissionFolder, study: Study) -> None:
    content = json.dumps(study.model_dump(mode="json"), indent=1).encode()
    folder.store.write(folder.file("resolved.json"), content)


def _ids(planned: PlannedStudy) -> list[str]:
    return list(dict.fromkeys(trial.id for trial in planned.trials))


def new_submission(store: Store, study: str) -> SubmissionFolder:
    """The folder of a submission that begins, and no other's that begins at the same moment."""
    while True:
        folder = SubmissionFolder(store, new_submission_id(store, study))
        if store.create(folder.file("begun"), b""):
            return folder


def new_submission_id(store: Store, study: str) -> str:
    """Study and second: short enough to type, and later than the study's others by any clock."""
    stem, now = study.replace(" ", "-"), datetime.now(UTC).replace(tzinfo=None)
    stamps = (_STAMP.fullmatch(name.removeprefix(stem)) for name in store.list("submissions"))
    taken = (datetime.strptime(found[1], _SECOND) for found in stamps if found)
    latest = max((second + timedelta(seconds=1) for second in taken), default=now)
    return f"{stem}-{max(now, latest):{_SECOND}}"
