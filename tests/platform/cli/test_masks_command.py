"""`mimlab masks`: a picture of masks, and numbers that are right."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from mimlab.spec.parts import register_parts
from mimlab.train.mask_draws import draw, draw_random
from mimlab_objectives.masking.block import BlockUnrepaired
from mimlab_objectives.masking.coarse import Coarse
from mimlab_objectives.masking.plan import Masking, maskings

IMAGES = torch.zeros(2, 3, 32, 32)


def masking_of(name: str, **params: object) -> Masking:
    register_parts()
    entry = maskings[name]
    return entry.part(entry.params.model_validate(params), (8, 8))


def test_rates_and_counts_are_those_of_the_masks() -> None:
    found = draw(masking_of("random", ratio=0.6), "random", IMAGES, (8, 8), num_draws=640)
    assert found.counts.shape == (640,) and (found.counts == 39).all()  # ⌈64 · 0.6⌉
    assert float(found.rate.mean()) == pytest.approx(39 / 64)
    # five deviations of a rate of 640 draws
    assert float((found.rate - 39 / 64).abs().max()) < 5 * (0.25 / 640) ** 0.5
    assert found.shown.sum((1, 2)).tolist() == [39] * 640


def test_inexact_counts_and_cells_show() -> None:
    block = draw(masking_of("block_unrepaired"), "", IMAGES, (8, 8), num_draws=256)
    assert len(block.counts.unique()) > 1
    assert isinstance(masking_of("block_unrepaired"), BlockUnrepaired)
    coarse = masking_of("coarse", ratio=0.5)
    assert isinstance(coarse, Coarse)
    cells = draw(coarse, "", IMAGES, (8, 8), num_draws=64).shown.unflatten(2, (4, 2))
    assert torch.equal(cells[..., 0], cells[..., 1])


def test_a_schedule_is_drawn_over_the_whole_training() -> None:
    masking = masking_of("random", ratio={"name": "linear", "start": 0.25, "end": 0.75})
    found = draw(masking, "", IMAGES, (8, 8), num_draws=640).counts
    assert (int(found[0]), int(found[-1])) == (16, 48)


def test_the_same_seed_draws_the_same() -> None:
    one, two = (draw_random(10, "", (8, 8), num_draws=100) for _ in range(2))
    other = draw_random(10, "", (8, 8), num_draws=100, seed=1)
    assert torch.equal(one.shown, two.shown) and not torch.equal(one.shown, other.shown)


@pytest.fixture
def photos(folder: Path) -> Path:
    """Two images, and two files that are none."""
    photos = folder / "photos" / "deep"
    photos.mkdir(parents=True)
    for name, colour in (("a.jpg", 30), ("b.png", 200)):
        cv2.imwrite(str(photos / name), np.full((50, 40, 3), colour, np.uint8))
    (photos / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    (photos / "notes.txt").write_text("none")
    return folder / "photos"


SMALL = ["--image-size", "32", "--patch-size", "4", "--draws", "64"]


@pytest.mark.parametrize("images", ["photos", "digits"])
def test_a_picture_is_written(call, folder: Path, photos: Path, images: str) -> None:
    options = ["--masking", "block", "--ratio", "0.5", "--images", images, "--to", "masks.png"]
    said = call("masks", *options, *SMALL)
    assert (said.code, said.err) == (0, "")
    assert said.out.startswith("masks.png: block hides 32.0 of 64 patches (32 to 32)")
    picture = cv2.imread(str(folder / "masks.png"))
    assert picture is not None and picture.shape[1] > 1000
    left, right = np.array_split(picture, 2, axis=1)
    assert left.std() > 10 and right.std() > 10 and (left != right).any()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--masking", "blok"], "--masking blok: no masking is called so; did you mean `block`?"),
        (["--masking", "random", "--ratio", "1.5"], "masking.ratio"),
        (["--masking", "random", "--set", "masking.size=3"], "has no such parameter; it has ratio"),
        (["--masking", "random", "--set", "ratio=0.5"], "expected masking.<parameter>=<value>"),
        (["--masking", "coarse", "--set", "masking.cell=3"], "masking.cell"),
        (["--masking", "random", "--images", "nowhere"], "nowhere: no such file or folder"),
        (["--masking", "random", "--images", "tiny.yaml"], "is a file; expected a data set"),
        (["--masking", "random", "--to", "masks.jpg"], "a picture is written as PNG"),
        (["--masking", "random", "--to", "no/masks.png"], "cannot be written (No such file"),
        (["--masking", "random", "--patch-size", "5"], "no multiple of --patch-size 5"),
    ],
)
def test_what_cannot_be_is_one_line(
    call, folder: Path, photos: Path, options: list[str], told: str
) -> None:
    given = ["--images", "photos", "--to", "masks.png", *SMALL, *options]
    said = call("masks", *given)
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith("error: ") and told in said.err and said.err.count("\n") == 1
    assert not (folder / "masks.png").exists()


def test_a_folder_without_images_is_refused(call, folder: Path) -> None:
    (folder / "empty").mkdir()
    said = call("masks", "--masking", "random", "--images", "empty", "--to", "masks.png", *SMALL)
    assert said.code == 2 and "holds no image that can be read" in said.err
