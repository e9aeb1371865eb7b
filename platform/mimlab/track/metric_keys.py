"""The metric keys that mimlab logs: fixed, so that trials of any two studies can be compared."""

from __future__ import annotations

import re

from mimlab.train.system import SYSTEM_KEYS

PHASE_WORDS = {
    "copy": "copying a batch to the device and normalising it",
    "forward": "the forward pass",
    "backward": "the backward pass",
    "optimizer": "the gradient's norm and the optimizer",
    "save": "what a checkpoint, an export or a board keeps training from",
}
"""Phases of a step. On a GPU they are its own time, and waiting for data may overlap with them."""

METRIC_KEYS: dict[str, str] = {
    "train/loss": "Training loss: the weighted sum of the patch losses ÷ the sum of the weights.",
    "train/term/<name>": "One of the parts that an objective's loss is the sum of.",
    "train/diagnostic/<name>": "What an objective says about its training besides the loss.",
    "train/lr": "Learning rate of the parameter groups with scale 1.",
    "train/grad_norm": "Global norm of the gradient, before clipping.",
    "train/epoch": "Passes over the training images so far, with fraction.",
    "train/images": "Images seen so far, over all workers.",
    "train/visible_tokens": "Patch tokens that the encoder saw so far; a budget can be set on it.",
    "train/workers": "Workers that share each batch.",
    "train/images_per_s": "Images per second since the last point, over all workers.",
    "train/wait_share": "Share of the time since the last point that went into waiting for data.",
    **{f"train/{name}_share": f"The same for {words}." for name, words in PHASE_WORDS.items()},
    **SYSTEM_KEYS,
    "mask/ratio_realised": "Hidden share of the patches that the masks really have, in [0, 1].",
    "mask/repaired": "Patches per image that were moved to reach the exact count.",
    "data/skipped": "Unreadable images so far, each replaced deterministically by another.",
    "probe/knn/top1": "Top-1 accuracy of the k-nearest-neighbour probe on frozen features.",
    "probe/linear/top1": "Top-1 accuracy of the linear probe on frozen features.",
    "probe/attentive/top1": (
        "Top-1 accuracy of one cross-attention layer over frozen patch tokens."
    ),
    "probe/low_shot_<share>/top1": (
        "Mean top-1 accuracy of logistic regression on a share of the labels, over draws: "
        "`low_shot_1pct`, `low_shot_10pct`."
    ),
    "probe/low_shot_<share>/top1_std": "Standard deviation of the same over the draws.",
    "probe/finetune/top1": "Top-1 accuracy after training the whole encoder on labels.",
    "probe/segmentation/miou": (
        "Intersection over union of the pixels of each class, averaged over classes, of a linear "
        "classifier of frozen patch tokens."
    ),
    "probe/<probe>/feature_std": (
        "Spread of the directions of the probe's test features: 1 everywhere, 0 all the same."
    ),
    "probe/<probe>/effective_rank": "Effective rank (RankMe) of the probe's test features.",
    "probe/<probe>/<measure>": "Any other measure of a probe, under its named protocol.",
    "baseline/<encoder>/<probe>/<measure>": (
        "The same probe of the untrained encoder (`random-init`) or of `raw-pixels`: the floor to "
        "beat, on the submission's run."
    ),
}
"""Key → meaning. A part in angle brackets stands for one name."""


def is_known(key: str) -> bool:
    """Whether `key` is one of the documented keys."""
    return any(_pattern(known).fullmatch(key) for known in METRIC_KEYS)


def _pattern(known: str) -> re.Pattern[str]:
    parts = re.split(r"<\w+>", known)
    return re.compile(r"[\w.-]+".join(re.escape(part) for part in parts))
