"""One trial as a fork: its parent's configuration with changes, from a checkpoint of the parent."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from mimlab.actions.inheritance import drift, first_step, reads_on, same_rows, taken
from mimlab.data.builtin import resolve_images
from mimlab.data.manifest import DataSet
from mimlab.data.sidecar import training_fingerprints
from mimlab.data.subset import training_split
from mimlab.errors import UserError
from mimlab.search.frozen import respecified, with_tokens_frozen
from mimlab.spec.checks import legal_trials
from mimlab.spec.identity import START, identity
from mimlab.spec.load import LoadedStudy, load_study_text
from mimlab.spec.study import TrialSpec, trial_spec
from mimlab.storage.folders import SubmissionFolder, TrialFolder
from mimlab.storage.records import CheckpointManifest, StartRecord, TrialRecord
from mimlab.train.checkpoint import manifest_path
from mimlab.train.forking import checkpoint_hash
from mimlab.train.schedule import total_steps


@dataclass(frozen=True)
class Fork:
    """A fork that is ready to be written."""

    record: TrialRecord
    loaded: LoadedStudy
    """A study of that trial alone."""
    total_steps: int


def forked(
    submission: SubmissionFolder, parent: TrialFolder, changes: Sequence[str], step: int | None
) -> Fork:
    """A trial of `submission` with changes, as `--set` takes them, from its checkpoint of `step`,
    by default the newest. Raises UserError."""
    record = _record_in(submission, parent)
    before = trial_spec(record.resolved)
    manifest = _checkpoint(parent, step)
    loaded = _study(submission, record, changes)
    spec = _only_trial(loaded)
    _refuse_changes(loaded, before, spec, parent)
    start = {"checkpoint": checkpoint_hash(parent, manifest.step)}
    scratch = parent.store.scratch("data")
    new = with_tokens_frozen(_identified(record, before, spec, start, scratch))
    differs = drift(record.identity, new.identity)
    if not differs:
        raise UserError(
            f"trial {parent.id}: nothing that changes its results is changed, so that it would be "
            "the same trial"
        )
    spec = trial_spec(new.resolved)
    images = _images(record, new, before, manifest, parent)
    takes, on = taken(before, spec), reads_on(record.identity, new.identity)
    batch_size = spec.train.batch_size
    first = manifest.step if on else first_step(manifest.epoch, images, batch_size)
    first = first if takes == "state" else 0
    total = total_steps(spec.train.budget, images, batch_size)
    if first >= total:
        raise UserError(
            f"trial {parent.id}: its checkpoint is at step {manifest.step:,}, and the fork's "
            f"budget ends at step {total:,}; give it more, e.g. --set train.budget.steps="
            f"{2 * first}, or start from an earlier --step"
        )
    update = {
        "parent": parent.id,
        "parent_step": manifest.step,
        "start": StartRecord(
            checkpoint=start["checkpoint"],
            takes=takes,
            step=first,
            reads_on=on and takes == "state",
            drift=differs,
        ),
        "point": _point(record, new, changes),
        "coordinates": {},
    }
    return Fork(new.model_copy(update=update), loaded, total)


def _record_in(submission: SubmissionFolder, parent: TrialFolder) -> TrialRecord:
    """A trial as the submission has it that runs it."""
    own = [record for record in submission.trial_records() if record.id == parent.id]
    return (own or [parent.record()])[0]


def _checkpoint(parent: TrialFolder, step: int | None) -> CheckpointManifest:
    """The description of a checkpoint. Raises UserError, with what there is."""
    found = {
        number: manifest
        for number in parent.steps("checkpoints")
        if (manifest := parent.store.read_sealed(manifest_path(parent, number), CheckpointManifest))
    }
    if not found:
        raise UserError(f"trial {parent.id} has no checkpoint yet to start from")
    if step is None:
        return found[max(found)]
    if step not in found:
        known = ", ".join(str(number) for number in found)
        raise UserError(
            f"--step {step}: trial {parent.id} has no checkpoint of that step; it has {known}"
        )
    return found[step]


def _study(
    submission: SubmissionFolder, record: TrialRecord, changes: Sequence[str]
) -> LoadedStudy:
    """A study of the parent alone, with the changes; a mistake in one is named by its `--set`."""
    store = submission.store
    study: dict[str, Any] = json.loads(store.read(submission.file("resolved.json")))
    study |= {key: value for key, value in record.resolved.items() if key in study}
    study |= {"recipe": None, "presets": {}, "storage": str(store.root)}
    study["sweep"] = {"seeds": [record.seed]}
    buffer = io.StringIO()
    YAML(typ="safe", pure=True).dump(study, buffer)
    return load_study_text(buffer.getvalue(), Path(f"fork-of-{record.id}.yaml"), None, changes)


def _only_trial(loaded: LoadedStudy) -> TrialSpec:
    trials = legal_trials(loaded)
    if len(trials) != 1:
        raise UserError(f"the changes make {len(trials)} trials, and a fork is one; run a study")
    return trials[0].spec


def _refuse_changes(
    loaded: LoadedStudy, before: TrialSpec, spec: TrialSpec, parent: TrialFolder
) -> None:
    """Raises UserError for what a fork cannot change."""
    if loaded.study.storage != str(parent.store.root):
        raise UserError(f"{loaded.where(('storage',))}: a fork stays in the storage of its parent")
    if spec.backbone.init != before.backbone.init:
        raise UserError(
            f"{loaded.where(('backbone', 'init'))}: a fork starts from its parent's checkpoint; "
            "run a study to start from other weights"
        )
    if spec.train.budget.in_hours:
        raise UserError(
            f"{loaded.where(('train', 'budget'))}: a fork's budget is in epochs, images, steps or "
            "visible_tokens: hours are measured where a study is submitted"
        )


def _identified(
    record: TrialRecord,
    before: TrialSpec,
    spec: TrialSpec,
    start: dict[str, str],
    scratch: Path,
) -> TrialRecord:
    """The record of the changed trial; its data are looked at only where they are others.

    `scratch`: where built-in data sets lie.
    """
    own = {key: v for key, v in record.identity.items() if not key.startswith(START)}
    flat = own | {f"{START}{name}": value for name, value in start.items()}
    renewed = record.model_copy(
        update={"seed": spec.seed, "identity": flat, "budget_asked": None, "start": None}
    )
    if (spec.data.images, spec.data.beside) == (before.data.images, before.data.beside):
        same_budget = spec.train.budget == before.train.budget
        asked = {"budget_asked": record.budget_asked if same_budget else None}
        return respecified(renewed.model_copy(update=asked), spec)
    data = DataSet.open(resolve_images(spec.data.images, scratch))
    sidecars = training_fingerprints(spec.data.beside)
    trial_id, flat = identity(spec, data.fingerprint, sidecars, start)
    update = {"id": trial_id, "resolved": spec.model_dump(mode="json"), "identity": flat}
    return renewed.model_copy(update=update)


def _images(
    before: TrialRecord,
    new: TrialRecord,
    parents: TrialSpec,
    manifest: CheckpointManifest,
    parent: TrialFolder,
) -> int:
    """Images of the fork's epoch: those of its parent's checkpoint, where they are the same."""
    if same_rows(before.identity, new.identity):
        return round(manifest.step * parents.train.batch_size / manifest.epoch)
    spec = trial_spec(new.resolved)
    data = DataSet.open(resolve_images(spec.data.images, parent.store.scratch("data")))
    return training_split(data, spec.data.splits.train, spec.data.subset).num_rows


def _point(
    before: TrialRecord, new: TrialRecord, changes: Sequence[str]
) -> dict[str, str | int | float | bool | None]:
    """The axes of its parent's study and what was changed, as they are now; scalars only."""
    paths = [*before.point, *(change.partition("=")[0].strip() for change in changes)]
    found = {path: _at(new.resolved, path) for path in dict.fromkeys(paths)}
    return {path: value for path, value in found.items() if isinstance(value, str | int | float)}


def _at(tree: Any, path: str) -> Any:
    """The value at a dotted path; None where there is none."""
    for key in path.split("."):
        if not isinstance(tree, dict) or key not in tree:
            return None
        tree = tree[key]
    return tree
