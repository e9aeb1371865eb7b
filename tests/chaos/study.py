"""The study that is disturbed: one trial that a core trains in about a minute, and its probes."""

from __future__ import annotations

from pathlib import Path

STUDY = """\
study: chaos
question: Does it end with the numbers that an undisturbed run gives?
data:
  images: digits
  image_size: 16
  augment: {{crop_scale: [0.6, 1.0], flip: 0.0}}
backbone:
  name: vit_tiny_patch16_224
  patch_size: 4
  embed_dim: 48
  depth: 2
  num_heads: 2
  drop_path: 0.1
objective: {{name: hpm, decoder_width: 32, decoder_depth: 1, decoder_heads: 2}}
target: {{name: pixels, norm: patch}}
masking: {{name: hard_patches, ratio: 0.75}}
train:
  budget: {{steps: {steps}}}
  batch_size: 32
  optimizer: {{base_lr: 3.0e-3}}
  log_every: 20
  checkpoint: {{every_epochs: 3, keep_last: 3}}
probes:
  - {{name: knn, every_epochs: 30, at: end}}
resources: {{cpus_per_worker: 1, concurrent_trials: 1}}
tracking: {{uri: "{tracking}"}}
storage: "{storage}"
"""
"""HPM, because it has a teacher, a masking that follows the loss, and a state for both."""


def write_study(folder: Path, *, steps: int, tracking: str) -> Path:
    """The study's file in a folder of its own, beside its results."""
    folder.mkdir(parents=True)
    path = folder / "chaos.yaml"
    path.write_text(STUDY.format(steps=steps, tracking=tracking, storage=folder / "runs"))
    return path
