"""A step of each recipe beside MAE's, at ViT-B/16 and 224 px: measured, and counted."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.measuring import Row, alternate, ratio, seconds_of
from mimlab.spec.parts import register_parts
from mimlab.spec.study import TrialSpec, trial_spec
from mimlab.train.build import build_masking, build_objective
from mimlab.train.clock import Clock
from mimlab.train.feed import Planner
from mimlab.train.flops import matrix_rate, step_flops
from mimlab.train.optimizer import build_optimizer
from mimlab.train.stepper import Stepper
from mimlab_objectives.masking.plan import MaskPlan
from mimlab_objectives.objectives.base import Batch, Objective, Progress
from mimlab_objectives.recipes.base import recipes

SIZE, BATCH, ROUNDS = 224, 4, 3
NOW = Progress(0, 0.0)
CPU = torch.device("cpu")
SPEC: dict[str, Any] = {
    "data": {"images": "/none", "image_size": SIZE},
    "backbone": {"name": "vit_base_patch16_224"},
    "train": {"budget": {"steps": 1}, "batch_size": BATCH},
    "seed": 0,
}
RANDOM = {"name": "vit_base_patch16_224", "weights": "random"}
CODES = {"name": "tokens", "vocabulary": 8192, "features": "pixels"}
CHANGES: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    "beit": {"target": CODES},
    "cae": {"target": CODES},
    "mapet": {"target": CODES},
    "pim": {"target": CODES},
    "maskalign": {"objective": {"name": "maskalign", "teacher": RANDOM, "top_layers": 5}},
    "maskdistill": {"target": {"name": "features", "teacher": RANDOM}},
    "masksub": {"objective": {"name": "masksub", "num_classes": 1000}},
}
"""Teachers of the same size without a download, and codes that cost next to nothing."""
LEFT_OUT = ("mae", "hap", "colormae")
"""What the others are compared with, and what is MAE under another masking."""
REFERENCE: Mapping[str, float] = {
    "localmim": 0.52,
    "latent_mim": 1.14,
    "maskalign": 1.14,
    "dbot": 1.61,
    "beit": 1.82,
    "maskfeat": 1.82,
    "simmim": 1.82,
    "cae": 1.84,
    "ijepa": 1.88,
    "maskdistill": 2.43,
    "dmjd": 2.53,
    "hpm": 2.53,
    "masksub": 2.7,
}
"""× MAE by multiplications of the blocks alone: 12·n·d² + 2·n²·d forward, ×3 where it trains."""


def run(folder: Path) -> list[Row]:
    del folder  # nothing is read
    register_parts()
    torch.manual_seed(0)
    mae = Work("mae")
    return [_beside(mae, name) for name in recipes if name not in LEFT_OUT]


class Work:
    """A recipe's step on a batch in memory."""

    def __init__(self, name: str) -> None:
        spec = _spec(name)
        objective = build_objective(spec).train()
        objective.after_init()
        batch = Batch(
            torch.arange(BATCH), torch.randn(BATCH, 3, SIZE, SIZE), torch.arange(BATCH) % 10
        )
        with FlopCounterMode(display=False) as signals:
            plan = _plan(spec, objective, batch)
        self.flops = signals.get_total_flops() + step_flops(objective, batch, plan)
        stepper = Stepper(
            objective,
            build_optimizer(objective, spec.train.optimizer),
            device=CPU,
            config=spec.train,
            seed=0,
            clock=Clock(CPU),
        )

        def step() -> None:
            """Masks that follow no signal are planned beside the step."""
            needed = _plan(spec, objective, batch) if objective.supplies & requires else plan
            stepper.step(batch, needed, NOW)

        requires = build_masking(spec, objective.backbone.grid).requires
        self.step: Callable[[], object] = step


def _spec(name: str) -> TrialSpec:
    sections = {**recipes[name].sections, **CHANGES.get(name, {})}
    backbone = SPEC["backbone"] | sections.pop("backbone", {})
    return trial_spec(SPEC | sections | {"backbone": backbone})


def _plan(spec: TrialSpec, objective: Objective, batch: Batch) -> MaskPlan:
    planner = Planner(build_masking(spec, objective.backbone.grid), 0)
    keys = planner.keys(batch.ids, torch.zeros_like(batch.ids))
    return planner.plan(keys, NOW, objective=objective, batch=batch)


def _beside(mae: Work, name: str) -> Row:
    work = Work(name)
    contestants = {"mae": partial(seconds_of, mae.step), name: partial(seconds_of, work.step)}
    alternate(contestants, 1)
    found = alternate(contestants, ROUNDS)
    rate = work.flops / statistics.median(found[name])
    figures = {
        "× MAE measured": ratio(found, name, "mae"),
        "× MAE counted": work.flops / mae.flops,
        "of the fp32 matrix rate": rate / matrix_rate(CPU),
        "ms an image": 1e3 * statistics.median(found[name]) / BATCH,
    }
    if name in REFERENCE:
        figures["× MAE by the reference"] = REFERENCE[name]
    return Row(f"step of {name}, ViT-B/16", "that of mae", None, "", figures)
