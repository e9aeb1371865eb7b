"""The encoder as safetensors that plain timm loads, committed by a description written last."""

from __future__ import annotations

import hashlib

import safetensors.torch
import timm
from timm.models import VisionTransformer
from torch import Tensor

from mimlab.storage.folders import TrialFolder, step_name
from mimlab.storage.records import Record
from mimlab_objectives.backbones.vit import BackboneParams, VitBackbone

WEIGHTS_FILE = "encoder.safetensors"
CARD_FILE = "encoder.json"


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
    trial.store.write_record(f"{folder}/{CARD_FILE}", card)
    return card


def read_card(trial: TrialFolder, step: int) -> EncoderCard | None:
    """The description of an export, None if the export is not complete."""
    return trial.store.read_record(
        trial.file(f"exports/{step_name(step)}/{CARD_FILE}"), EncoderCard
    )


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
