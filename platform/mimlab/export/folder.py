"""An encoder's folder: written beside its place, checked by loading it, then renamed."""

from __future__ import annotations

import os
import shutil
import uuid
from pathlib import Path

from mimlab.errors import UserError
from mimlab.export.model_card import model_card
from mimlab.export.timm_folder import CONFIG_FILE, WEIGHTS_FILE, check, config_of
from mimlab.storage.folders import TrialFolder
from mimlab.train.export import EncoderCard, load_encoder, weights_of

MODEL_CARD_FILE = "README.md"
"""Where people and model hubs look for a model card."""


def write_folder(trial: TrialFolder, card: EncoderCard, to: Path) -> Path:
    """Write the encoder's weights, timm's configuration and a model card to a new folder.

    All or nothing. Raises UserError if the folder holds something or cannot be written, or if the
    export is damaged.
    """
    to = to.expanduser().resolve()
    _refuse_taken(to)
    try:
        weights, encoder = weights_of(trial, card), load_encoder(trial, card)
    except (ValueError, FileNotFoundError) as error:
        raise UserError(f"{error}; export another step") from error
    part = to.with_name(f".{to.name}.{uuid.uuid4().hex[:8]}")
    try:
        part.mkdir(parents=True)
        (part / WEIGHTS_FILE).write_bytes(weights)
        (part / CONFIG_FILE).write_bytes(config_of(card, encoder.num_features))
        check(part, card, encoder)
        text = model_card(trial, card, to, encoder.num_prefix_tokens)
        (part / MODEL_CARD_FILE).write_text(text, encoding="utf-8")
        part.rename(to)
    except OSError as error:
        raise UserError(f"{to}: cannot be written ({error.strerror or error})") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return to


def _refuse_taken(to: Path) -> None:
    if to.is_dir() and not os.access(to, os.R_OK):
        raise UserError(f"{to}: may not be read; name a new folder with --to")
    if to.is_dir() and any(to.iterdir()):
        raise UserError(f"{to}: is not empty; name a new or an empty folder with --to")
    if to.exists() and not to.is_dir():
        raise UserError(f"{to}: is a file; name a new or an empty folder with --to")
