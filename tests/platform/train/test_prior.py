"""Masks that follow maps, from a folder of pictures to the training step."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mimlab.data.importing_maps import import_maps
from mimlab.train.session import Session
from mimlab_objectives.masking.plan import MaskPlan


def test_what_a_map_marks_is_hidden_in_every_step(
    session_of: Callable[..., Session], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = session_of().data
    files = tmp_path / "files"
    files.mkdir()
    left = np.repeat([[255, 0]], 2, axis=0).astype(np.uint8)
    for number in range(data.manifest.images):
        Image.fromarray(left).save(files / f"{number:04d}.png")
    import_maps(files, data.root, tmp_path / "left", kind="map")
    session = session_of(
        f"data.sidecars={{prior: {tmp_path / 'left'}}}",
        "data.augment={crop_scale: [1.0, 1.0], flip: 0.0}",
        "masking={name: prior, ratio: 0.5, weight: 1.0}",
        "train.budget={steps: 2}",
        "probes=[]",
    )
    plans: list[MaskPlan] = []
    plan = session.planner.plan

    def kept(*args, **options) -> MaskPlan:
        plans.append(plan(*args, **options))
        return plans[-1]

    monkeypatch.setattr(session.planner, "plan", kept)
    assert session.run().state == "finished"
    rows, columns = session.objective.backbone.grid
    marked = (torch.arange(columns) < columns // 2).expand(rows, columns).flatten()
    assert len(plans) == 2
    assert all((plan.hidden == marked).all() for plan in plans)
