"""`docs/learned.md`: what every objective has learned."""

from __future__ import annotations

import datetime
import os
import platform
import subprocess
from collections.abc import Mapping
from pathlib import Path

import timm
import torch
from learning_job import Learned
from learning_rows import ROWS, Row

from mimlab.spec.study import Study

STUDY = Path(__file__).parents[2] / "sweeps" / "every-objective.yaml"

_PAGE = """# What every objective learns

kNN top-1 on {num_test:,} test images of CIFAR-10, whose neighbours are sought among {num_fit:,}
training images: by the encoder as it was drawn, and by the same one after training. It reads
{size} × {size} px in patches of {patch} × {patch}, has {depth} blocks, {dim} channels, and trains
on {num_train:,} images, {batch} a step, on one CPU core. All else is the preset of the row's name
in [`sweeps/every-objective.yaml`](../sweeps/every-objective.yaml): masking and target are those of
the paper, as far as so few patches allow.

A few minutes rank nothing: the table says that an objective learns, not what it comes to. The
margin is what the gain must exceed; `make learn`, which writes this page, fails where it does not.
`make learn-families` trains one objective of a family, those in bold.

{versions}. Raw pixels: {raw_pixels:.3f}.

| objective | family | steps | untrained | trained | gain | margin | seconds |
| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |
"""


def write_page(path: Path, study: Study, learned: Mapping[str, Learned]) -> bool:
    """Write the page if every row has been trained; else leave it and say False."""
    if learned.keys() != ROWS.keys():
        return False
    any_row = learned["mae"]
    backbone = study.backbone
    head = _PAGE.format(
        num_test=any_row.num_test,
        num_fit=any_row.num_fit,
        num_train=any_row.num_train,
        size=study.data.image_size,
        depth=backbone.depth,
        dim=backbone.embed_dim,
        patch=backbone.patch_size,
        batch=study.train.batch_size,
        versions=_versions(),
        raw_pixels=any_row.raw_pixels,
    )
    lines = "".join(_line(name, row, learned[name]) for name, row in ROWS.items())
    path.write_text(head + lines + _failures())
    return True


def _failures() -> str:
    """The rows that do not learn as they should, and why."""
    of_reason: dict[str, list[str]] = {}
    for name, row in ROWS.items():
        if row.fails:
            of_reason.setdefault(row.fails, []).append(f"**{name}**")
    reasons = [f"- {', '.join(names)}: {why}.\n" for why, names in of_reason.items()]
    return f"\n## What gains less than its margin\n\n{''.join(reasons)}" if reasons else ""


def _line(name: str, row: Row, learned: Learned) -> str:
    link = f"[{name}](../sweeps/{STUDY.name})"
    cells = [
        f"**{link}**" if row.of_family else link,
        row.family,
        f"{learned.steps}",
        f"{learned.untrained:.3f}",
        f"{learned.trained:.3f}",
        f"{learned.gain:+.3f}",
        f"{row.margin:.2f}",
        f"{learned.seconds:.0f}",
    ]
    return f"| {' | '.join(cells)} |\n"


def _versions() -> str:
    found = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    )
    commit = found.stdout.strip() or "unknown"
    today, python = datetime.date.today().isoformat(), platform.python_version()
    versions = f"Python {python}, torch {torch.__version__}, timm {timm.__version__}"
    return f"{today}, commit {commit}, {versions}, {os.cpu_count()} cores"
