"""Two optimizer steps of some trials on one rank of a process group, as a program.

`python trained_ranks.py TRIALS RESULT RANK WORLD RENDEZVOUS`: TRIALS is JSON, name → `TrialSpec`;
RESULT is where rank 0 writes, by name, the gradients of each step, the figures and the state.
"""

from __future__ import annotations

import json
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from mimlab.spec.study import TrialSpec, trial_spec
from mimlab.train.build import build_masking, build_objective
from mimlab.train.clock import Clock
from mimlab.train.feed import GlobalBatches, Planner
from mimlab.train.stepper import Stepper
from mimlab_objectives.objectives.base import Batch, Objective, Progress

STEPS = 2
LR = 0.1
CPU = torch.device("cpu")


def samples(step: int, batch_size: int) -> tuple[np.ndarray, np.ndarray]:
    """Ids and epochs of a global batch."""
    ids = np.arange(step * batch_size, (step + 1) * batch_size)
    return ids, np.zeros_like(ids)


def images_of(count: int, size: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, 3, size, size, generator=generator)


def optimizer_of(objective: Objective) -> torch.optim.SGD:
    """Its steps are gradients, where Adam's would be signs of what may be rounding."""
    groups = objective.param_groups()
    return torch.optim.SGD(
        [{"params": group.params, "lr": LR * group.lr_scale} for group in groups if group.params]
    )


def trained(spec: TrialSpec, rank: int, world: int) -> dict[str, Any]:
    """What two steps of a trial come to."""
    size, batch_size = spec.data.image_size, spec.train.batch_size
    objective = build_objective(spec).train()
    if objective.target.fit_images:
        objective.target.fit(images_of(objective.target.fit_images, size, seed=99))
    objective.after_init()
    optimizer = optimizer_of(objective)
    gradients: list[dict[str, Tensor]] = []

    def keep(*_: object) -> None:
        named = ((name, p.grad) for name, p in objective.named_parameters())
        gradients.append({name: grad.clone() for name, grad in named if grad is not None})

    optimizer.register_step_pre_hook(keep)
    stepper = Stepper(
        objective, optimizer, device=CPU, config=spec.train, seed=spec.seed, clock=Clock(CPU)
    )
    masking = build_masking(spec, objective.backbone.grid)
    whole = GlobalBatches(lambda step: samples(step, batch_size), rank, world)
    planner = Planner(masking, spec.seed, whole)
    figures = []
    share = batch_size // world
    for step in range(STEPS):
        own = slice(rank * share, (rank + 1) * share)
        ids, epochs = (torch.from_numpy(part)[own] for part in samples(step, batch_size))
        images = images_of(batch_size, size, seed=step)[own]
        batch = Batch(ids, images, ids % 10)
        progress = Progress(step, step / STEPS)
        keys = planner.keys(ids, epochs)
        plan = planner.plan(keys, progress, objective=objective, batch=batch)
        result = stepper.step(batch, plan, progress)
        figures.append(dict(zip(stepper.names, result.figures.tolist(), strict=True)))
    return {"gradients": gradients, "figures": figures, "state": objective.state_dict()}


def main(trials: str, result: str, rank: int, world: int, rendezvous: str) -> None:
    torch.set_num_threads(1)
    if world > 1:
        dist.init_process_group(
            "gloo",
            init_method=f"file://{rendezvous}",
            rank=rank,
            world_size=world,
            timeout=timedelta(seconds=120),
        )
    specs = json.loads(Path(trials).read_text())
    found = {name: trained(trial_spec(spec), rank, world) for name, spec in specs.items()}
    if rank == 0:
        torch.save(found, result)
    if world > 1:
        dist.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5])
