"""`mimlab masks`: a picture of masks, and numbers that are right."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from mimlab.data.importing_maps import import_maps
from mimlab.data.manifest import DataSet
from mimlab.data.sidecar import MapKind
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


def test_maps_are_followed_image_by_image() -> None:
    images, maps = torch.zeros(2, 3, 32, 32), torch.zeros(2, 64)
    maps[0, :32] = maps[1, 32:] = 1.0
    masking = masking_of("prior", ratio=0.5, weight=1.0)
    shown = draw(masking, "", images, (8, 8), num_draws=70, maps=maps).shown.flatten(1)
    assert torch.equal(shown, maps.bool()[torch.arange(70) % 2])


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


@pytest.fixture
def sidecars(intact_digits: Path, folder: Path) -> Callable[[str, MapKind], Path]:
    """Writes a sidecar of the digits whose maps mark the left half."""

    def write(name: str, kind: MapKind) -> Path:
        (folder / f"{name}-files").mkdir()
        left = np.repeat([[1, 0]], 2, axis=0).astype(np.uint8)
        for number in range(DataSet.open(intact_digits).manifest.images):
            cv2.imwrite(str(folder / f"{name}-files" / f"{number:04d}.png"), left)
        import_maps(folder / f"{name}-files", intact_digits, folder / name, kind=kind)
        return folder / name

    return write


PRIOR = ["--masking", "prior", "--set", "masking.weight=1", "--to", "masks.png", *SMALL]


def test_real_maps_are_followed(
    call, folder: Path, sidecars: Callable[[str, MapKind], Path]
) -> None:
    said = call("masks", *PRIOR, "--images", "digits", "--maps", sidecars("left", "map"))
    assert (said.code, said.err) == (0, "")
    # Wherever the map marks always, elsewhere never.
    assert "hides 32.0 of 64 patches (32 to 32), a position in 0.00 to 1.00 of the" in said.out
    assert (folder / "masks.png").exists()


def test_maps_that_cannot_be_followed_are_one_line(
    call, folder: Path, photos: Path, sidecars: Callable[[str, MapKind], Path]
) -> None:
    labels, values = sidecars("classes", "labels_map"), sidecars("left", "map")
    for options, told in (
        ([*PRIOR, "--images", "digits"], "follows a map of each image; name their sidecar, --maps"),
        ([*PRIOR, "--images", "digits", "--maps", "nowhere"], "nowhere: no sidecar.json"),
        ([*PRIOR, "--images", "digits", "--maps", labels], "holds labels, not values; import it"),
        ([*PRIOR, "--images", "photos", "--maps", values], "photos: is no data set, so no maps"),
        (
            ["--masking", "random", *SMALL, "--to", "masks.png", "--maps", values],
            "random follows no map; leave --maps out",
        ),
    ):
        said = call("masks", "--images", "digits", *options)
        assert (said.code, said.out) == (2, "")
        assert said.err.startswith("error: ") and told in said.err and said.err.count("\n") == 1
    assert not (folder / "masks.png").exists()
