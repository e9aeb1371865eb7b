"""A study of every objective, as changes of the tiny one: what is not named here is not tested."""

from __future__ import annotations

DECODER = "decoder_depth: 1, decoder_width: 16, decoder_heads: 2"
TOKENS = "target={name: tokens, vocabulary: 8, images: 64, points_per_code: 64}"
LATENT = "target={name: latent}"
TEACHER = "{name: vit_tiny_patch16_224, weights: random, patch_size: 4, embed_dim: 16, depth: 2"
_OWN: dict[str, list[str]] = {
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
CASES: dict[str, list[str]] = {
    name: [f"objective={{name: {name}}}", "masking={name: random, ratio: 0.5}", *changes]
    for name, changes in _OWN.items()
}
"""Name → changes of the tiny study; between them they use what a masking or a target can be."""
