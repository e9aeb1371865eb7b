"""Protocol `finetune/2`: the whole encoder and a classifier, trained end to end on labels.

The recipe is MAE's (He et al., 2022, arXiv:2111.06377, table 9; facebookresearch/mae,
main_finetune.py and util/lr_decay.py, after BEiT) in timm's parts, shorter unless it is told
otherwise. RandAugment comes with the images (`rand_augment`). Version 1 had neither that nor random
erasing, and trained in float32 everywhere.
"""

from __future__ import annotations

import contextlib
import copy
import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from pydantic import Field, model_validator
from timm.data.mixup import Mixup
from timm.data.random_erasing import RandomErasing
from timm.layers.drop import DropPath
from timm.models import VisionTransformer
from torch import Tensor, nn
from torch.nn import functional

from mimlab_objectives.keys import key_of
from mimlab_objectives.probes.accuracy import accuracies, rank_of_label
from mimlab_objectives.probes.features import Pooling
from mimlab_objectives.probes.global_draws import drawn_from
from mimlab_objectives.probes.rand_augment import STRONGEST
from mimlab_objectives.probes.schedule import Tell, is_reported, warmup_cosine
from mimlab_objectives.registry import Params, ParamsError

PROTOCOL = "finetune/2"
HEAD_STD = 2e-5
"""Of the classifier's first weights (main_finetune.py)."""
_POOLS = {"mean": "avg", "cls": "token"}
"""timm's names."""

ImageBatch = tuple[Float[Tensor, "_ 3 height width"], Int[Tensor, " _"]]
"""Normalised images and their labels."""


class Recipe(Params):
    """How an encoder is fine-tuned."""

    epochs: int = Field(default=30, ge=1)
    """Passes over the fit images. MAE: 100 (ViT-B), 50 (ViT-L)."""
    batch_size: int = Field(default=128, ge=2)
    """Images of a step. MAE: 1024."""
    base_lr: float = Field(default=2e-3, gt=0, allow_inf_nan=False)
    """lr = base_lr × batch_size / 256. MAE: 5e-4 (ViT-B), 1e-3 (ViT-L), for more steps."""
    warmup_epochs: float = Field(default=2.0, ge=0, allow_inf_nan=False)
    """Epochs until the rate is at its peak; half a cosine to 0 follows. MAE: 5."""
    weight_decay: float = Field(default=0.05, ge=0, allow_inf_nan=False)
    """Of matrices; vectors, positions and the class token have none."""
    layer_decay: float = Field(default=0.65, gt=0, le=1)
    """Each layer's rate over that of the next one."""
    drop_path: float = Field(default=0.1, ge=0, lt=1)
    """Stochastic depth at the last block; it grows linearly from 0 at the first."""
    rand_augment: int = Field(default=9, ge=0, le=STRONGEST)
    """Magnitude of RandAugment, of which each image gets up to two operations; 0 leaves it out."""
    random_erasing: float = Field(default=0.25, ge=0, le=1)
    """Probability that a rectangle of an image becomes noise; 0 leaves it out."""
    mixup: float = Field(default=0.8, ge=0, allow_inf_nan=False)
    """Alpha of mixup; 0 leaves it out."""
    cutmix: float = Field(default=1.0, ge=0, allow_inf_nan=False)
    """Alpha of cutmix, which takes mixup's place in half of the batches; 0 leaves it out."""
    label_smoothing: float = Field(default=0.1, ge=0, lt=1)
    """Share of a label that is spread over all classes."""

    @model_validator(mode="after")
    def _warms_up_in_time(self) -> Recipe:
        if self.warmup_epochs >= self.epochs:
            message = f"{self.warmup_epochs:g} is not below the {self.epochs} epochs"
            raise ParamsError("warmup_epochs", message)
        return self

    def steps(self, num_images: int) -> int:
        """Steps after which each image has been read at least `epochs` times."""
        return math.ceil(self.epochs * num_images / self.batch_size)


@dataclass(frozen=True)
class Task:
    """What is learned, and how long."""

    num_classes: int
    pooling: Pooling
    total_steps: int
    seed: int


def finetune(
    encoder: VisionTransformer,
    train: Iterable[ImageBatch],
    test: Iterable[ImageBatch],
    recipe: Recipe,
    task: Task,
    *,
    tell: Tell,
) -> dict[str, float]:
    """`top1` (and `top5`) of the last step, and `train_loss`, the mean over the last epoch.

    `encoder` itself is not changed. `train` gives `task.total_steps` batches. Weights, erasing,
    mixup and stochastic depth are drawn from keys of (seed, step), without touching any other
    generator. Raises ValueError if there is no image to train on or to test.
    """
    device = next(encoder.parameters()).device
    with drawn_from(key_of(task.seed, PROTOCOL, "head"), device):
        model = classifier_of(encoder, task.num_classes, task.pooling, recipe.drop_path)
    loss = _train(model.to(device), train, recipe, task, tell)
    ranks = _ranks(model, test)
    return accuracies(ranks, task.num_classes) | {"train_loss": loss}


def classifier_of(
    encoder: VisionTransformer, num_classes: int, pooling: Pooling, drop_path: float
) -> VisionTransformer:
    """A copy of an encoder with a classifier on its pooled tokens; all of it is to be trained."""
    model = copy.deepcopy(encoder).requires_grad_(True)
    model.reset_classifier(num_classes, _POOLS[pooling])
    assert isinstance(model.head, nn.Linear)
    nn.init.trunc_normal_(model.head.weight, std=HEAD_STD)
    nn.init.zeros_(model.head.bias)
    rates = torch.linspace(0, drop_path, len(model.blocks)).tolist()
    for block, rate in zip(model.blocks, rates, strict=True):
        for name, _ in list(block.named_children()):
            if name.startswith("drop_path"):
                setattr(block, name, DropPath(rate))
    return model


def parameter_groups(model: VisionTransformer, recipe: Recipe) -> list[dict]:
    """Groups with `lr_scale` = layer_decay^(depth + 1 − layer): patches, positions and class token
    are layer 0, block i (from 0) is layer i + 1, the classifier layer depth + 1.

    By timm, which counts the final norm to the last block, where MAE counts it to the classifier.
    """
    # With it come PyTorch's compiler and its seconds.
    from timm.optim import (
        param_groups_layer_decay,  # pyright: ignore[reportPrivateImportUsage]
    )

    return param_groups_layer_decay(
        model,
        weight_decay=recipe.weight_decay,
        no_weight_decay_list=model.no_weight_decay(),
        layer_decay=recipe.layer_decay,
    )


def _train(
    model: VisionTransformer, train: Iterable[ImageBatch], recipe: Recipe, task: Task, tell: Tell
) -> float:
    optimizer = torch.optim.AdamW(parameter_groups(model, recipe))
    peak = recipe.base_lr * recipe.batch_size / 256
    warmup_steps = math.floor(recipe.warmup_epochs * task.total_steps / recipe.epochs)
    warmup_steps = min(warmup_steps, task.total_steps - 1)
    losses = []
    model.train()
    for step, (images, labels) in enumerate(train):
        share = warmup_cosine(step, warmup_steps=warmup_steps, total_steps=task.total_steps)
        for group in optimizer.param_groups:
            group["lr"] = peak * share * group["lr_scale"]
        with drawn_from(key_of(task.seed, PROTOCOL, "step", step), images.device):
            mixed, targets = _mixed(erased_of(images, recipe), labels, recipe, task.num_classes)
            with half_precision(images.device):
                logits = model(mixed)
            loss = functional.cross_entropy(logits.float(), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
        if is_reported(step, task.total_steps):
            tell({"done": step + 1, "of": task.total_steps, "loss": float(loss.detach())})
    if not losses:
        raise ValueError("fine-tuning needs images to train on")
    last_epoch = math.ceil(task.total_steps / recipe.epochs)
    return float(torch.stack(losses[-last_epoch:]).mean())


def half_precision(device: torch.device) -> contextlib.AbstractContextManager[object]:
    """Autocast to bf16 on GPUs that have it; MAE's autocast is to fp16."""
    if device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False):
        return torch.autocast("cuda", torch.bfloat16)
    return contextlib.nullcontext()


def erased_of(
    images: Float[Tensor, "batch 3 height width"], recipe: Recipe
) -> Float[Tensor, "batch 3 height width"]:
    """A copy with normal noise in a rectangle of some images (Zhong et al. 2017, arXiv:1708.04896),
    of 2 % to a third of their area, as main_finetune.py's `--remode pixel`."""
    erase = RandomErasing(recipe.random_erasing, mode="pixel", device=images.device)  # pyright: ignore[reportArgumentType]
    return erase(images.clone()) if recipe.random_erasing else images


def _mixed(
    images: Float[Tensor, "batch 3 height width"],
    labels: Int[Tensor, " batch"],
    recipe: Recipe,
    num_classes: int,
) -> tuple[Float[Tensor, "even 3 height width"], Float[Tensor, "even classes"]]:
    """Images mixed with those at the other end of the batch, and the labels' smoothed shares.

    timm mixes pairs: of an odd batch, where an image was left out, the last one is, too.
    """
    even = len(images) // 2 * 2
    if not even or not (recipe.mixup or recipe.cutmix):
        shares = functional.one_hot(labels, num_classes).float()
        smoothing = recipe.label_smoothing
        return images, shares * (1 - smoothing) + smoothing / num_classes
    mix = Mixup(
        mixup_alpha=recipe.mixup,
        cutmix_alpha=recipe.cutmix,
        label_smoothing=recipe.label_smoothing,
        num_classes=num_classes,
    )
    return mix(images[:even].clone(), labels[:even])


@torch.no_grad()
def _ranks(model: VisionTransformer, test: Iterable[ImageBatch]) -> Int[Tensor, " samples"]:
    model.eval()
    ranks = [rank_of_label(model(images), labels) for images, labels in test]
    if not ranks:
        raise ValueError("fine-tuning needs images to test")
    return torch.cat(ranks)
