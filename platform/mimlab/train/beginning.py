"""Step 0 of a trial: the weights that it starts from, and a target that is fitted."""

from __future__ import annotations

import safetensors.torch
import torch

from mimlab.data.manifest import DataSet
from mimlab.errors import TrialError
from mimlab.spec.paths import CONTENT_PREFIX
from mimlab.spec.study import TrialSpec
from mimlab.storage.store import Store
from mimlab.storage.weights import read_weights
from mimlab.tokens.store import TokenStore
from mimlab.train.fixed_images import fixed_images
from mimlab.train.pixels import normalise
from mimlab.train.stored import learn_pictures
from mimlab_objectives.backbones.initial import start_from
from mimlab_objectives.backbones.vit import VitBackbone
from mimlab_objectives.targets.base import Target


def start_encoder(backbone: VitBackbone, init: str, results: Store) -> str:
    """Give an encoder the weights that a study names; says how its positions were resampled.

    Raises TrialError if they are lost.
    """
    try:
        data = read_weights(results, init.removeprefix(CONTENT_PREFIX))
    except (FileNotFoundError, ValueError) as error:
        raise TrialError("failed", f"the weights to start from are lost: {error}") from error
    return start_from(backbone, safetensors.torch.load(data)) or "same"


def fit_target(
    target: Target, spec: TrialSpec, data: DataSet, tokens: TokenStore | None, device: torch.device
) -> None:
    """On the same images in every trial and on every rank: the first ones of the split."""
    if tokens is not None:
        learn_pictures(target, tokens, spec, data)
    if target.fit_images:
        name, size = spec.data.splits.train, spec.data.image_size
        pixels, _ = fixed_images(data, name, size, target.fit_images)
        target.fit(normalise(pixels.to(device)))
