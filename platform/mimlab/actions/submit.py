"""Submit: a study is checked here as far as it can be, packed, and sent to where it runs."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from mimlab.actions import audit
from mimlab.actions.bundle import bundled
from mimlab.actions.launch import Launcher, innermost
from mimlab.actions.ray_jobs import RayJobs
from mimlab.errors import UserError
from mimlab.search.fingerprint import code_zip
from mimlab.search.initial import weights_file
from mimlab.search.submission import new_submission_id, plan_study
from mimlab.spec.checks import legal_trials
from mimlab.spec.expand import expand
from mimlab.spec.load import LoadedStudy, absolute_override, load_study_text
from mimlab.spec.paths import BUILT_IN_IMAGES, is_init_path
from mimlab.spec.study import Study
from mimlab.spec.sweep import OptunaSearch
from mimlab.storage.remote_path import is_uri
from mimlab.storage.store import Store
from mimlab.track.uri import resolve_tracking

STUDY = "study.yaml"
WAIT_S = 1.0
"""Ids name seconds: two submissions of a study within one are told apart so."""


def submit(
    text: str,
    *,
    store: Store,
    launcher: Launcher,
    user: str,
    preset: str | None,
    overrides: list[str],
    origin: Path | None = None,
) -> str:
    """Send a study; the id of its submission, at once.

    Args:
        text: the study file.
        store: where its results go, whatever the file says.
        launcher: what runs it.
        user: whose it is.
        preset: a named overlay of the study.
        overrides: `path=value`, as `--set` takes them.
        origin: the file, from whose folder its relative paths are taken; by default one in the
            working folder.

    Raises UserError for whatever can be seen from here: YAML, combinations that are not legal, data
    that are missing. The driver checks the rest, and says so in its log. Raises NotNow where the
    cluster, which knows what ids are taken, does not answer.
    """
    origin = (origin or Path(STUDY)).absolute()
    changes = [absolute_override(each) for each in overrides]
    changes.append(f"storage={json.dumps(str(store.root))}")
    loaded = load_study_text(text, origin, preset, changes)
    check(loaded, store, launcher)
    weights = _weights(loaded, launcher)
    changes += weights.changes
    submission_id = _free_id(store, launcher, loaded.study.study)
    words = ["supervise", STUDY, "--as", submission_id, "--origin", str(origin), "--by", user]
    words += [] if preset is None else ["--preset", preset]
    words += [word for change in changes for word in ("--set", change)]
    seen = not is_elsewhere(launcher) or _is_seen(store)
    words += [] if seen else ["--audit"]
    with bundled(code_zip(), {STUDY: text.encode(), **weights.files}) as package:
        launcher.start(submission_id, words, package)
    if seen:
        audit_submit(store, user, submission_id, loaded)
    return submission_id


def audit_submit(store: Store, user: str, submission_id: str, loaded: LoadedStudy) -> None:
    """Write it into the audit log: here, or by the driver where the storage is not seen here."""
    details = {"study": loaded.study.study, "options": loaded.options}
    audit.record(store, user, "submit", submission_id, details)


def check(loaded: LoadedStudy, store: Store, launcher: Launcher) -> None:
    """Raises UserError for what is wrong with a study, as far as it can be seen from here.

    Writes nothing, but makes a built-in data set in a storage that can be seen.
    """
    resolve_tracking(loaded.study.tracking.uri, str(store.root))
    elsewhere = is_elsewhere(launcher)
    if not elsewhere or (_is_seen(store) and _data_seen(loaded)):
        plan_study(loaded, here=not isinstance(innermost(launcher), RayJobs))
    elif _data_seen(loaded):
        legal_trials(loaded)
    elif not isinstance(loaded.study.sweep.search, OptunaSearch):
        expand(loaded)


def is_elsewhere(launcher: Launcher) -> bool:
    """Whether a driver may run on a machine that does not see this one's folders."""
    found = innermost(launcher)
    return isinstance(found, RayJobs) and found.is_remote


def refuse_local(storage: str | None, launcher: Launcher) -> None:
    """Raises UserError for a storage, as it was written, that a cluster elsewhere cannot see."""
    if not is_elsewhere(launcher):
        return
    remedy = "name a folder that all machines share by its absolute path, or s3://BUCKET/FOLDER"
    if storage is None:
        raise UserError(f"storage: is not given, and this machine's ./runs is not there; {remedy}")
    if not is_uri(storage) and not Path(storage).expanduser().is_absolute():
        raise UserError(f"storage: {storage} is relative to a folder of this machine; {remedy}")


def _is_seen(store: Store) -> bool:
    return not isinstance(store.root, Path) or store.root.is_dir()


def _data_seen(loaded: LoadedStudy) -> bool:
    """Whether everything that the study reads is a URI, built in, or a path that exists here."""
    return all(
        place in BUILT_IN_IMAGES or is_uri(place) or Path(place).exists()
        for place in _places(loaded.study)
    )


def _places(study: Study) -> Iterable[str]:
    yield study.data.images
    yield from study.data.beside.values()


class _Weights(NamedTuple):
    """Weights of this machine that an encoder starts from, as they travel."""

    files: dict[str, bytes | Path]
    changes: list[str]


def _weights(loaded: LoadedStudy, launcher: Launcher) -> _Weights:
    """Raises UserError for weights that do not travel."""
    base = loaded.study.backbone.init
    varied = sorted(_inits(loaded) - {base}) if is_elsewhere(launcher) else []
    if varied:
        raise UserError(
            f"{loaded.where(('sweep', 'axes'))}: backbone.init: {varied[0]} is a file of this "
            "machine; axes can vary what the cluster sees, such as trial:ID or sha256:HASH"
        )
    if base is None or not is_init_path(base) or not Path(base).exists():
        return _Weights({}, [])
    found = weights_file(Path(base))
    name = f"weights/{found.name}"
    return _Weights({name: found}, [f"backbone.init={json.dumps(name)}"])


def _inits(loaded: LoadedStudy) -> set[str]:
    """Files and folders that the study's points start from; an adaptive search varies none."""
    if isinstance(loaded.study.sweep.search, OptunaSearch):
        return set()
    found = {trial.spec.backbone.init for trial in expand(loaded)}
    return {init for init in found if init is not None and is_init_path(init)}


def _free_id(store: Store, launcher: Launcher, study: str) -> str:
    """One that neither a folder has, nor a job that has yet to write its folder."""
    found = new_submission_id(store, study)
    while launcher.state(found) is not None:
        time.sleep(WAIT_S)
        found = new_submission_id(store, study)
    return found
