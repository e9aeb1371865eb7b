"""The encoder as safetensors that plain timm loads, committed by a description written last."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import safetensors.torch
import timm
from timm.models import VisionTransformer
from torch import Tensor

from mimlab.storage.folders import TrialFolder, step_name
from mimlab.storage.records import CheckpointManifest, Record
from mimlab.train.checkpoint import read_checkpoint
from mimlab.train.log import TrialLog
from mimlab_objectives.backbones.vit import BackboneParams, VitBackbone

WEIGHTS_FILE = "encoder.safetensors"
CARD_FILE = "encoder.json"
ENCODER_PREFIX = "backbone.vit."
"""Of the encoder's weights among those of an objective."""


class EncoderCard(Record):
    """What is needed to build the encoder again."""

    step: int
    epoch: float
    backbone: BackboneParams
    image_size: int
    weights_sha256: str
    timm_version: str = timm.__version__


def write_export(
    trial: TrialFolder,
    weights: dict[str, Tensor],
    *,
    step: int,
    epoch: float,
    backbone: BackboneParams,
    image_size: int,
) -> EncoderCard:
    """Write `encoder.safetensors` and then `encoder.json`, which commits it.

    `weights` is the `state_dict` of the plain timm model, on the host.
    """
    data = safetensors.torch.save({name: t.contiguous() for name, t in weights.items()})
    folder = trial.file(f"exports/{step_name(step)}")
    trial.store.write(f"{folder}/{WEIGHTS_FILE}", data)
    card = EncoderCard(
        step=step,
        epoch=epoch,
        backbone=backbone,
        image_size=image_size,
        weights_sha256=hashlib.sha256(data).hexdigest(),
    )
    trial.store.write_sealed(card_path(trial, step), card)
    return card


def write_encoder(
    trial: TrialFolder,
    objective: Mapping[str, Any],
    manifest: CheckpointManifest,
    *,
    backbone: BackboneParams,
    image_size: int,
) -> EncoderCard:
    """Export the encoder of an objective's `state_dict`, at the step of a checkpoint."""
    weights = {
        name.removeprefix(ENCODER_PREFIX): tensor
        for name, tensor in objective.items()
        if name.startswith(ENCODER_PREFIX)
    }
    return write_export(
        trial,
        weights,
        step=manifest.step,
        epoch=manifest.epoch,
        backbone=backbone,
        image_size=image_size,
    )


def usable_export(
    trial: TrialFolder, step: int, *, backbone: BackboneParams, image_size: int
) -> EncoderCard:
    """The description of a whole export; a corrupt one is made again from its checkpoint.

    Raises ValueError where no checkpoint of that step is left, or it was never complete.
    """
    if not trial.store.exists(card_path(trial, step)):
        raise ValueError(f"trial {trial.id} has no complete export of step {step}")
    card = read_card(trial, step)
    if card is not None and _intact(trial, card):
        return card
    found = read_checkpoint(trial, step)
    if found is None:
        raise ValueError(
            f"trial {trial.id}: export of step {step} is corrupt, and no checkpoint of that step "
            "is left to make it again"
        )
    state, manifest = found
    card = write_encoder(trial, state.objective, manifest, backbone=backbone, image_size=image_size)
    TrialLog(trial).write(
        "export corrupt", {"step": step, "answer": "exported again from its checkpoint"}
    )
    return card


def _intact(trial: TrialFolder, card: EncoderCard) -> bool:
    try:
        weights_of(trial, card)
    except (FileNotFoundError, ValueError):
        return False
    return True


def read_card(trial: TrialFolder, step: int) -> EncoderCard | None:
    """The description of an export, None if it is not complete or has changed."""
    return trial.store.read_sealed(card_path(trial, step), EncoderCard)


def card_path(trial: TrialFolder, step: int) -> str:
    """The file that commits an export."""
    return trial.file(f"exports/{step_name(step)}/{CARD_FILE}")


def weights_of(trial: TrialFolder, card: EncoderCard) -> bytes:
    """The exported safetensors file.

    Raises FileNotFoundError, and ValueError if it is not the one that the description names.
    """
    data = trial.store.read(trial.file(f"exports/{step_name(card.step)}/{WEIGHTS_FILE}"))
    if hashlib.sha256(data).hexdigest() != card.weights_sha256:
        raise ValueError(f"trial {trial.id}: export of step {card.step} is corrupt")
    return data


def load_encoder(trial: TrialFolder, card: EncoderCard) -> VisionTransformer:
    """The plain timm model with the exported weights, in evaluation mode.

    Raises as `weights_of` does.
    """
    model = VitBackbone(card.backbone, card.image_size).vit
    model.load_state_dict(safetensors.torch.load(weights_of(trial, card)))
    return model.eval()
