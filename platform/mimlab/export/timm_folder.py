"""What plain timm needs to build an exported encoder, and the proof that it does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import timm
import torch
from timm.models import VisionTransformer

from mimlab.errors import UserError
from mimlab.train.export import EncoderCard
from mimlab_objectives.backbones.vit import timm_arguments
from mimlab_objectives.images import MEAN, STD

WEIGHTS_FILE = "model.safetensors"
CONFIG_FILE = "config.json"
"""Names that timm looks for in a `local-dir:` folder (timm/models/_hub.py)."""

_CHECKED_IMAGES = 2


def config_of(card: EncoderCard, num_features: int) -> bytes:
    """`config.json`: architecture, arguments and preprocessing, as timm reads them."""
    size = card.image_size
    content = {
        "architecture": card.backbone.name,
        "num_classes": 0,
        "num_features": num_features,
        "global_pool": "",
        "model_args": timm_arguments(card.backbone, size),
        "pretrained_cfg": {
            "input_size": [3, size, size],
            "fixed_input_size": True,
            "num_classes": 0,
            "mean": MEAN,
            "std": STD,
            "interpolation": "bicubic",
            "crop_pct": 1.0,
            "crop_mode": "center",
            "first_conv": "patch_embed.proj",
            "classifier": "head",
        },
    }
    return json.dumps(content, indent=1).encode() + b"\n"


def by_folder(folder: Path) -> VisionTransformer:
    """The encoder as timm builds it from the folder alone."""
    return _plain(timm.create_model(f"local-dir:{folder}", pretrained=True))


def by_arguments(folder: Path, card: EncoderCard) -> VisionTransformer:
    """The encoder as timm builds it from its name, its arguments and the weights' file."""
    return _plain(
        timm.create_model(
            card.backbone.name,
            pretrained=True,
            pretrained_cfg_overlay=overlay(folder),
            **timm_arguments(card.backbone, card.image_size),
        )
    )


def overlay(folder: Path) -> dict[str, Any]:
    """Points timm at the file; without a head, or it would not insist on every weight."""
    return {"file": str(folder / WEIGHTS_FILE), "num_classes": 0}


def calls(folder: Path, card: EncoderCard) -> tuple[str, str]:
    """`by_folder` and `by_arguments` as lines of Python."""
    arguments = {
        "pretrained": True,
        "pretrained_cfg_overlay": overlay(folder),
        **timm_arguments(card.backbone, card.image_size),
    }
    lines = "".join(f"    {name}={_python(value)},\n" for name, value in arguments.items())
    return (
        f'timm.create_model("local-dir:{folder}", pretrained=True)',
        f'timm.create_model(\n    "{card.backbone.name}",\n{lines})',
    )


def check(folder: Path, card: EncoderCard, encoder: VisionTransformer) -> None:
    """Build the encoder both ways and compare features of a fixed input with its own, bit for bit.

    Raises UserError if they differ.
    """
    shape = (_CHECKED_IMAGES, 3, card.image_size, card.image_size)
    images = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        own = encoder.forward_features(images)
        for built in (by_folder(folder), by_arguments(folder, card)):
            if not torch.equal(built.forward_features(images), own):
                raise UserError(
                    f"timm {timm.__version__} builds another encoder of these weights than timm "
                    f"{card.timm_version}, which trained it; install that version to export it"
                )


def _plain(model: torch.nn.Module) -> VisionTransformer:
    assert isinstance(model, VisionTransformer)  # the backbone accepts no other name
    return model.eval()


def _python(value: object) -> str:
    return json.dumps(value) if isinstance(value, str | dict) else repr(value)
