"""`mimlab gc`: what of a storage goes, what stays, and why."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from mimlab.data.builtin import resolve_images
from mimlab.data.manifest import DataSet
from mimlab.errors import UserError
from mimlab.probe.due import due_of, reads_of, unanswered
from mimlab.retention.holds import Holds
from mimlab.retention.orphans import (
    Orphan,
    broken_off,
    clock_s,
    ray_files,
    ray_names,
    unfinished_submission,
    unused_weights,
)
from mimlab.retention.removal import carry_out
from mimlab.retention.rules import TrialSnapshot, Turn, Verdict, verdicts
from mimlab.retention.snapshot import forked_from, milestones_of, snapshot
from mimlab.spec.study import Study, TrialSpec, study_model, trial_spec
from mimlab.storage.folders import SubmissionFolder, TrialFolder, submissions
from mimlab.storage.records import OwnerRecord, TrialRecord
from mimlab.storage.store import Store

REFERRING = ("trials.json", "space.json", "resolved.json")
"""Files of a submission that may name weights by their hash."""

NO_LIST = "no submission lists its trial; a study may still reuse it"
NO_LEASE = "may go, but not before the full disk takes a lease"


@dataclass
class Inventory:
    """What goes and what stays of a storage."""

    holds: Holds
    goes: list[Verdict] = field(default_factory=list)
    orphans: list[Orphan] = field(default_factory=list)
    stays: list[tuple[str, int]] = field(default_factory=list)
    """Why, and bytes."""

    @property
    def num_bytes(self) -> int:
        """That go."""
        orphans = sum(orphan.num_bytes for orphan in self.orphans)
        return orphans + sum(verdict.saved.num_bytes for verdict in self.goes)

    def remove(self) -> int:
        """Remove what goes, unless somebody has begun to use it since; the bytes that did.

        What breaks off can be repeated.
        """
        freed, store = 0, self.holds.store
        for verdict in sorted(self.goes, key=lambda verdict: verdict.order):
            trial = TrialFolder(store, verdict.trial)
            owner = _owner(trial)
            if owner is None or self.holds.hindrance(owner):
                continue
            if carry_out(trial, verdict):
                freed += verdict.saved.num_bytes
        for orphan in self.orphans:
            if orphan.remove(store):
                freed += orphan.num_bytes
        return freed


def take_inventory(holds: Holds, *, exports: bool) -> Inventory:
    """Of a submission, or of a whole storage.

    Args:
        holds: which, and what of it nobody can start meanwhile.
        exports: whether encoders may go that are neither last nor best nor at a rung.

    Raises UserError for a folder that cannot be read.
    """
    store, chosen = holds.store, holds.chosen
    found, now_s = Inventory(holds), clock_s()
    listed = _listed(submissions(store))
    forked = forked_from(store, [record for uses in listed.values() for _, record in uses])
    data = _DataSets(store)
    for trial_id in store.list("trials") if chosen is None else _ids(chosen):
        trial = TrialFolder(store, trial_id)
        sizes = store.sizes(trial.path)
        total = sum(size.num_bytes for size in sizes.values())
        uses = listed.get(trial_id, [])
        owner = _owner(trial)
        hindrance = _hindrance(owner, holds, uses)
        if owner is None or hindrance:
            found.stays.append((hindrance, total))
            continue
        study, record = uses[0]
        spec = trial_spec(record.resolved)
        seen = snapshot(
            trial,
            spec,
            sizes,
            milestones=_milestones(study, trial),
            unprobed=data.unprobed(trial, [record for _, record in uses]),
            forked=trial_id in forked,
        )
        _judge(found, seen, exports=exports, leased=holds.is_idle(owner))
        found.orphans += broken_off(trial.path, sizes, now_s)
    found.orphans += _besides(holds, now_s)
    return found


Use = tuple[Study, TrialRecord]
"""A submission's study, and a trial as it has it."""


def _listed(folders: Sequence[SubmissionFolder]) -> dict[str, list[Use]]:
    """Trial id → the submissions' uses of it."""
    uses: dict[str, list[Use]] = {}
    for folder in folders:
        path = folder.file("resolved.json")
        try:
            study = study_model().model_validate_json(folder.store.read(path))
        except (FileNotFoundError, ValueError) as error:
            raise UserError(
                f"{folder.store.place(path)}: not a study that this version of mimlab knows; "
                "restore the file, or remove the submission's folder"
            ) from error
        for record in folder.trial_records():
            uses.setdefault(record.id, []).append((study, record))
    return uses


def _ids(chosen: SubmissionFolder) -> list[str]:
    return [trial.id for trial in chosen.trials()]


def _owner(trial: TrialFolder) -> str | None:
    """The submission whose a trial is to run; None before it has begun."""
    record = trial.store.read_record(trial.file("owner.json"), OwnerRecord)
    return None if record is None else record.submission


def _hindrance(owner: str | None, holds: Holds, uses: Sequence[Use]) -> str:
    """Why nothing of a trial is touched; empty if its files are to be judged."""
    if not uses:
        return NO_LIST
    return "it has not begun" if owner is None else holds.hindrance(owner)


def _judge(found: Inventory, trial: TrialSnapshot, *, exports: bool, leased: bool) -> None:
    rest = trial.num_bytes
    for verdict in verdicts(trial):
        between = verdict.turn is Turn.EXPORT_BETWEEN
        if verdict.turn is None:
            found.stays.append((verdict.why, verdict.saved.num_bytes))
        elif between and not exports:
            words = "encoder between (--exports removes it)"
            found.stays.append((words, verdict.saved.num_bytes))
        elif verdict.turn > Turn.OLD_OF_OPEN and not leased:
            found.stays.append((NO_LEASE, verdict.saved.num_bytes))
        else:
            found.goes.append(verdict)
        rest -= verdict.saved.num_bytes
    found.stays.append(("records, curves, boards", rest))


def _milestones(study: Study, trial: TrialFolder) -> list[float]:
    """As far as the trial has come."""
    return milestones_of(study.sweep.stopping, trial.status().epoch)


def _besides(holds: Holds, now_s: float) -> Iterator[Orphan]:
    """Orphans that lie outside of the trials' folders."""
    store, chosen = holds.store, holds.chosen
    names = store.list("submissions") if chosen is None else [chosen.id]
    for name in names:
        path = f"submissions/{name}"
        sizes = store.sizes(path)
        yield from unfinished_submission(path, sizes, now_s)
        if not holds.hindrance(name):
            yield from broken_off(path, sizes, now_s)
    yield from ray_files(store, filter(holds.is_idle, ray_names(store)))
    if chosen is None:
        yield from broken_off("weights", store.sizes("weights"), now_s)
        yield from unused_weights(store, _referring(store), now_s)


def _referring(store: Store) -> Iterator[bytes]:
    """Every text that may name weights."""
    paths = [f"trials/{name}/trial.json" for name in store.list("trials")]
    paths += [f"submissions/{n}/{file}" for n in store.list("submissions") for file in REFERRING]
    for path in paths:
        try:
            yield store.read(path)
        except FileNotFoundError:
            continue


class _DataSets:
    """Tells which exports are to be probed, which only the data say; each is opened once."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._open: dict[str, DataSet | None] = {}

    def unprobed(self, trial: TrialFolder, records: Sequence[TrialRecord]) -> frozenset[int] | None:
        """Steps with a probe that one of the submissions is to make; None if that is not known."""
        results = trial.probes()
        steps: set[int] = set()
        for record in records:
            spec = trial_spec(record.resolved)
            data = self._of(spec)
            if data is None:
                return None
            steps |= unanswered(due_of(spec, data), results, reads_of(spec)).keys()
        return frozenset(steps)

    def _of(self, spec: TrialSpec) -> DataSet | None:
        images = spec.data.images
        if images not in self._open:
            try:
                place = resolve_images(images, self._store.scratch("data"))
                self._open[images] = DataSet.open(place)
            except (OSError, UserError):  # the disk may be too full to make a built-in one
                self._open[images] = None
        return self._open[images]
