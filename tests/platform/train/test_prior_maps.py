"""Boards of a masking that follows maps show the masks of the images' own maps."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from mimlab.data.importing_maps import import_maps
from mimlab.data.manifest import DataSet
from mimlab.data.sidecar import Sidecar
from mimlab.spec.parts import register_parts
from mimlab.spec.study import trial_spec
from mimlab.train.boards import GAP_PX
from mimlab.train.build import build_masking, build_objective
from mimlab.train.feed import Planner
from mimlab.train.prior_maps import fixed_maps, followed_maps, opened_maps
from mimlab.train.seen import GREY
from mimlab.train.trial_board import board_maker
from mimlab_objectives.masking.plan import Masking, maskings

SIZE, PATCH, SIDE = 16, 4, 96
CHANGES = (
    "masking={name: prior, ratio: 0.25, weight: 1.0}",
    "objective={name: simmim}",
    "probes=[]",
)


def quarter(number: int) -> np.ndarray:
    """A map of 2 × 2 values whose `number`-th quarter is marked."""
    marked = np.zeros(4, np.uint8)
    marked[number % 4] = 255
    return marked.reshape(2, 2)


@pytest.fixture
def data(tmp_path: Path, named_data: Callable[..., DataSet]) -> DataSet:
    """Images of two splits, the test ones taller than wide."""
    rng = np.random.default_rng(0)
    shapes = {"train": (16, 16, 3), "test": (24, 16, 3)}
    return named_data(
        tmp_path / "data",
        {
            split: {f"{split}/{i}.png": rng.integers(150, 255, shape, np.uint8) for i in range(9)}
            for split, shape in shapes.items()
        },
    )


def sidecar_of(data: DataSet, folder: Path, *, missing: int | None = None) -> Sidecar:
    """The `i`-th map of a split marks its `i`-th quarter."""
    for split in ("train", "test"):
        (folder / "files" / split).mkdir(parents=True)
        for i in range(9):
            if (split, i) != ("test", missing):
                Image.fromarray(quarter(i)).save(folder / "files" / split / f"{i}.png")
    return import_maps(
        folder / "files", data.root, folder / "maps", kind="map", allow_missing=True
    ).sidecar


def test_each_map_is_that_of_its_image_under_the_same_view(data: DataSet, tmp_path: Path) -> None:
    sidecar = sidecar_of(data, tmp_path, missing=2)
    view = opened_maps(str(sidecar.root), data, PATCH)
    maps = fixed_maps(view, data, "test", SIZE, 5)
    assert maps.shape == (5, 16)
    assert maps[2].isnan().all() and not maps[[0, 1, 3, 4]].isnan().any()
    for i in (0, 1, 3, 4):
        # The centred square of a map that is as tall as its image, in quarters again.
        corners = maps[i].view(4, 4)[[0, 0, 3, 3], [0, 3, 0, 3]]
        assert int(corners.argmax()) == i % 4


def test_no_map_is_read_where_none_is_followed(data: DataSet, tmp_path: Path) -> None:
    places = {"prior": str(sidecar_of(data, tmp_path).root)}
    register_parts()
    random, prior = (_masking(name) for name in ("random", "prior"))
    assert followed_maps(random, places, data, PATCH) is None
    assert followed_maps(prior, {}, data, PATCH) is None
    assert followed_maps(prior, places, data, PATCH) is not None


def _masking(name: str) -> Masking:
    entry = maskings[name]
    return entry.part(entry.params(), (4, 4))


def test_a_board_hides_what_the_maps_mark(
    data: DataSet, tmp_path: Path, create_tiny: Callable
) -> None:
    place = sidecar_of(data, tmp_path).root
    (tmp_path / "study").mkdir()
    made = create_tiny(
        tmp_path / "study",
        *CHANGES,
        f"data.images={data.root}",
        f"data.sidecars={{prior: {place}}}",
        "train.batch_size=4",
    )
    spec = trial_spec(made.spec)
    objective = build_objective(spec)
    planner = Planner(build_masking(spec, objective.backbone.grid), spec.seed)
    cpu = torch.device("cpu")
    png = board_maker(spec, objective, planner, data, count=4, device=cpu).draw()()
    board = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)
    assert board is not None
    for i in range(4):
        top, left = SIDE + GAP_PX, i * (SIDE + GAP_PX)
        seen = board[top : top + SIDE : 6, left : left + SIDE : 6]
        hidden = (seen == GREY).all(-1)
        half = slice(8 * (i // 2), 8 * (i // 2) + 8), slice(8 * (i % 2), 8 * (i % 2) + 8)
        assert hidden.sum() == 64 and hidden[half].all()
