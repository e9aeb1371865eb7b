"""Every objective trains from shards to a checkpoint, and goes on from one to the same bits."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from mimlab.storage.folders import TrialFolder
from mimlab.storage.journal import read_points
from mimlab.train.checkpoint import newest_checkpoint
from mimlab.train.reporter import VOLATILE_KEYS
from mimlab.train.session import Session
from mimlab_objectives.objectives.base import objectives
from mimlab_objectives.registry import import_all

import_all("mimlab_objectives.objectives")
OWN = [e.name for e in objectives.entries() if e.part.__module__.startswith("mimlab_objectives.")]

DECODER = "decoder_depth: 1, decoder_width: 16, decoder_heads: 2"
TOKENS = "target={name: tokens, vocabulary: 8, images: 64, points_per_code: 64}"
LATENT = "target={name: latent}"
TEACHER = "{name: vit_tiny_patch16_224, weights: random, patch_size: 4, embed_dim: 16, depth: 2"
CASES: dict[str, list[str]] = {
    "a2mim": ["masking={name: mean_fill, ratio: 0.5, cell: 1}"],
    "cae": ["objective={name: cae, regressor_depth: 1, decoder_depth: 1}"],
    "capi": [
        "objective={name: capi, num_clusters: 8, predictor_depth: 1}",
        "masking={name: capi_block, ratio: 0.5}",
        LATENT,
    ],
    "data2vec": ["masking={name: dinov2_block, min_area: 1}", LATENT],
    "dbot": [f"objective={{name: dbot, {DECODER}}}", LATENT],
    "dmjd": [
        f"objective={{name: dmjd, {DECODER}}}",
        "masking={name: disjoint, ratio: 0.5, cell: 1}",
        "target={name: hog}",
    ],
    "gmml": ["masking={name: groups, align: 4, max_side: 0.5}"],
    "hpm": [f"objective={{name: hpm, {DECODER}}}", "masking={name: hard_patches, ratio: 0.5}"],
    "ijepa": [
        "objective={name: ijepa, predictor_depth: 1, predictor_width: 16, predictor_heads: 2}",
        "masking={name: multi_block, least_kept: 1}",
        LATENT,
    ],
    "latent_mim": [
        f"objective={{name: latent_mim, head_width: 16, {DECODER}}}",
        "masking={name: random, ratio: {name: linear, start: 0.4, end: 0.7, quantum: 1}}",
        LATENT,
    ],
    "localmim": [
        "objective={name: localmim, decoder_width: 16, decoder_heads: 2}",
        "backbone.depth=4",
        LATENT,
    ],
    "mae": [
        f"objective={{name: mae, {DECODER}}}",
        "target={name: features, teacher: {name: vit_tiny_patch16_224, weights: random}}",
    ],
    "mage": [f"objective={{name: mage, {DECODER}}}", "masking={name: mage}", TOKENS],
    "mapet": [TOKENS],
    "maskalign": [
        f"objective={{name: maskalign, teacher: {TEACHER}, num_heads: 2}}, top_layers: 1}}",
        "masking={name: attentive, ratio: 0.5}",
        LATENT,
    ],
    "masksub": ["objective={name: masksub, num_classes: 10}", LATENT],
    "mfm": ["masking={name: frequency, radius: 2.5}"],
    "pim": [TOKENS],
    "ropim": ["masking={name: projection, bucket: 4}"],
    "simmim": ["masking={name: block_unrepaired, ratio: 0.5, min_area: 2}", TOKENS],
    "supervised_mim": [f"objective={{name: supervised_mim, num_classes: 10, {DECODER}}}"],
}
"""Name → changes of the tiny study; between them they use what a masking or a target can be."""

SHORT = ("train.budget={steps: 6}", "train.log_every=2", "probes=[]")


def test_every_objective_is_here() -> None:
    assert set(CASES) == set(OWN)


def final(trial: TrialFolder) -> dict[str, torch.Tensor]:
    found = newest_checkpoint(trial, on_unusable=lambda step: pytest.fail(f"step {step}"))
    assert found is not None and found[1].step == 6
    return dict(found[0].objective)


def curve(trial: TrialFolder) -> list[dict[str, float]]:
    points = read_points(trial.store, trial.file("journal"))
    return [{k: v for k, v in p.metrics.items() if k not in VOLATILE_KEYS} for p in points]


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_it_goes_on_to_the_same_bits(name: str, session_of: Callable[..., Session]) -> None:
    changes = (f"objective={{name: {name}}}", "masking={name: random, ratio: 0.5}", *CASES[name])
    often = "train.checkpoint={every_epochs: 0.1, keep_last: 9}"
    session = session_of(*changes, *SHORT, often)
    assert session.run().state == "finished"
    trial = session.trial
    weights, points = final(trial), curve(trial)
    assert {f"train/term/{term}" for term in session.objective.terms} <= points[-1].keys()
    assert trial.store.list(trial.file("boards"))
    saved = trial.steps("checkpoints")
    assert len(saved) > 1
    for step in saved[1:]:
        trial.store.remove(trial.file(f"checkpoints/step_{step:09d}"))
    trial.store.remove(trial.file("outcome.json"))
    assert session_of(*changes, *SHORT, often).run().state == "finished"
    again = final(trial)
    assert weights.keys() == again.keys()
    assert all(torch.equal(weights[key], again[key]) for key in weights)
    assert curve(trial) == points
