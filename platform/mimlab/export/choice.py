"""Which encoder of which trial: by id, and by step or score."""

from __future__ import annotations

import difflib

from mimlab.errors import UserError
from mimlab.probe.config import metric_of
from mimlab.spec.study import trial_spec
from mimlab.storage.folders import TrialFolder
from mimlab.storage.records import DONE
from mimlab.storage.store import Store
from mimlab.train.export import EncoderCard, read_card

_SHOWN = 3


def find_trial(store: Store, trial_id: str) -> TrialFolder:
    """A trial by its id. Raises UserError, naming the nearest ids."""
    known = store.list("trials")
    if trial_id in known:
        return TrialFolder(store, trial_id)
    near = difflib.get_close_matches(trial_id, known, n=_SHOWN, cutoff=0.5)
    hint = f"the nearest are {', '.join(near)}" if near else _some(known)
    raise UserError(f"{store.root}: there is no trial {trial_id!r}; {hint}")


def _some(known: list[str]) -> str:
    if not known:
        return "it has none yet"
    more = f" and {len(known) - _SHOWN} more" if len(known) > _SHOWN else ""
    return f"it has {', '.join(known[:_SHOWN])}{more}"


def exported_encoders(trial: TrialFolder) -> dict[int, EncoderCard]:
    """The complete exports of a trial, by step, ascending."""
    cards = {step: read_card(trial, step) for step in trial.steps("exports")}
    return {step: card for step, card in cards.items() if card is not None}


def last_encoder(trial: TrialFolder) -> EncoderCard:
    """The newest export. Raises UserError if there is none yet."""
    found = exported_encoders(trial)
    if not found:
        raise UserError(_nothing_yet(trial))
    return found[max(found)]


def encoder_at(trial: TrialFolder, step: int) -> EncoderCard:
    """The export of a step. Raises UserError, listing the steps that there are."""
    last_encoder(trial)
    found = exported_encoders(trial)
    if step not in found:
        steps = ", ".join(map(str, found))
        raise UserError(f"trial {trial.id}: step {step} was not exported; these were: {steps}")
    return found[step]


def best_encoder(trial: TrialFolder) -> EncoderCard:
    """The export with the highest score of the trial's first probe. Raises UserError."""
    last_encoder(trial)
    probes = trial_spec(trial.record().resolved).probes
    key = metric_of(probes[0]) if probes else ""
    found = exported_encoders(trial)
    scores = {r.step: r.metrics[key] for r in trial.probes() if key in r.metrics}
    scored = [step for step in found if step in scores]
    if not scored:
        raise UserError(
            f"trial {trial.id}: none of its exports has been probed, so none is the best; "
            f"name one with --step: {', '.join(map(str, found))}"
        )
    return found[max(scored, key=lambda step: scores[step])]


def _nothing_yet(trial: TrialFolder) -> str:
    status = trial.status()
    saved = ", ".join(map(str, trial.steps("checkpoints"))) or "none"
    at = f"{status.state} at step {status.step}"
    if status.total_steps:
        at = f"{at} of {status.total_steps}"
    text = f"trial {trial.id} has no exported encoder yet: it is {at} (checkpoints: {saved})"
    if status.state in DONE:
        return f"{text}; its exports were removed"
    study = trial.record().study
    return f"{text}; it exports at its probes and at its end: `mimlab resume {study!r}` goes on"
