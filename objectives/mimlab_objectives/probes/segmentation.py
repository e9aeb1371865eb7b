"""Protocol `segmentation/1`: a linear classifier of frozen patch tokens, scored pixel by pixel.

As the linear evaluation of DINOv2 (facebookresearch/dinov2, dinov2/eval/segmentation, `BNHead`):
batch normalisation, one linear layer for all patches, its logits upsampled bilinearly, and
cross-entropy with 255 left out. Three things are ours: the last layer's tokens alone, centred views
of one size in the place of sliding windows, and for every encoder AdamW at one rate with half a
cosine.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn
from torch.nn import functional

from mimlab_objectives.keys import bits, key_of
from mimlab_objectives.probes.schedule import Tell, is_reported, warmup_cosine

PROTOCOL = "segmentation/1"
NO_CLASS = 255
"""Label of pixels that are left out."""
LEARNING_RATE = 1e-3
WEIGHT_DECAY = 1e-4
BATCH_SIZE = 16

Tokens = Float[Tensor, "batch tokens dim"]
Labels = UInt8[Tensor, "batch height width"]
LabelledTokens = tuple[Float[Tensor, "_ tokens dim"], UInt8[Tensor, "_ height width"]]
"""Patch tokens of some images, and the label of each of their pixels."""


class PatchClassifier(nn.Module):
    """Logits of every pixel from the tokens of a square grid of patches."""

    def __init__(self, dim: int, num_classes: int) -> None:
        super().__init__()
        # momentum None: the mean over all batches, not one that forgets.
        self.norm = nn.BatchNorm1d(dim, affine=False, momentum=None)
        self.linear = nn.Linear(dim, num_classes)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(
        self, tokens: Tokens, size: tuple[int, int]
    ) -> Float[Tensor, "batch classes height width"]:
        """Upsampled to `size`, (height, width)."""
        side = math.isqrt(tokens.shape[1])
        logits = self.linear(self.norm(tokens.flatten(0, 1)))
        maps = logits.unflatten(0, (-1, side, side)).permute(
            0, 3, 1, 2
        )  # (batch, classes, side, side)
        return functional.interpolate(maps, size=size, mode="bilinear", align_corners=False)


def segmentation_probe(
    fit_tokens: Float[Tensor, "fit tokens dim"],
    fit_labels: UInt8[Tensor, "fit height width"],
    test: Iterable[LabelledTokens],
    *,
    num_classes: int,
    seed: int,
    epochs: int,
    device: torch.device,
    tell: Tell,
) -> dict[str, float]:
    """`miou`: intersection over union, averaged over the classes that are seen or guessed.

    Tokens are those of a square grid, in any floating-point type, on any device; each batch goes to
    `device`. A pure function of its arguments; `tell` takes the progress. Raises ValueError where
    no pixel to fit on, or none to test, has a class.
    """
    if not bool((fit_labels != NO_CLASS).any()):
        raise ValueError("a segmentation probe needs a labelled pixel to fit")
    classifier = PatchClassifier(fit_tokens.shape[2], num_classes).to(device)
    _fit(classifier, fit_tokens, fit_labels, seed=seed, epochs=epochs, device=device, tell=tell)
    return {"miou": mean_iou(classifier.eval(), test, num_classes=num_classes, device=device)}


def _fit(
    classifier: PatchClassifier,
    tokens: Float[Tensor, "fit tokens dim"],
    labels: UInt8[Tensor, "fit height width"],
    *,
    seed: int,
    epochs: int,
    device: torch.device,
    tell: Tell,
) -> None:
    parameters = list(classifier.parameters())
    optimizer = torch.optim.AdamW(parameters, LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    orders = (_shuffled(key_of(seed, PROTOCOL, "epoch", e), len(tokens)) for e in range(epochs))
    batches = (rows for order in orders for rows in order.split(BATCH_SIZE))
    total = epochs * math.ceil(len(tokens) / BATCH_SIZE)
    for step, rows in enumerate(batches):
        for group in optimizer.param_groups:
            share = warmup_cosine(step, warmup_steps=0, total_steps=total)
            group["lr"] = LEARNING_RATE * share
        loss = _loss(classifier, tokens[rows].to(device).float(), labels[rows].to(device))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if is_reported(step, total):
            tell({"done": step + 1, "of": total, "loss": float(loss.detach())})


def _loss(classifier: PatchClassifier, tokens: Tokens, labels: Labels) -> Float[Tensor, ""]:
    """Mean over the pixels that have a class; 0 where none has."""
    height, width = labels.shape[1:]
    logits = classifier(tokens, (height, width))
    total = functional.cross_entropy(logits, labels.long(), ignore_index=NO_CLASS, reduction="sum")
    return total / (labels != NO_CLASS).sum().clamp(min=1)


@torch.no_grad()
def mean_iou(
    classifier: PatchClassifier,
    test: Iterable[LabelledTokens],
    *,
    num_classes: int,
    device: torch.device,
) -> float:
    """torchmetrics' Jaccard index of the likeliest class of each pixel, averaged over classes.

    A class that no pixel has, neither labelled nor guessed, does not count. Raises ValueError where
    no pixel has a class.
    """
    from torchmetrics.classification import MulticlassJaccardIndex  # seconds to import

    index = MulticlassJaccardIndex(num_classes, average="macro", ignore_index=NO_CLASS).to(device)
    labelled = 0
    for tokens, labels in test:
        height, width = labels.shape[1:]
        logits = classifier(tokens.to(device).float(), (height, width))
        labelled += int((labels != NO_CLASS).sum())
        index.update(logits.argmax(1), labels.to(device).long())
    if not labelled:
        raise ValueError("a segmentation probe needs a labelled pixel to test")
    return float(index.compute())


def _shuffled(key: int, count: int) -> Int[Tensor, " samples"]:
    """A permutation, the same on every device."""
    return bits(torch.tensor([key]), count)[0].argsort(stable=True)
