"""A picture of what codes stand for: real patches, a row for each code."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from jaxtyping import UInt8

from mimlab.data.manifest import DataSet
from mimlab.errors import UserError
from mimlab.tokens.sampling import samples
from mimlab.tokens.store import TokenStore
from mimlab.train.pixels import to_pixels
from mimlab_objectives.keys import key_of, sample_keys

IMAGES = 512
"""Whose patches are shown; more of them would show rarer codes."""
PATCH_PX = 32
"""Smallest side of a patch in the picture."""
GAP_PX = 2
MEAN_GAP_PX = 8
"""Between the mean patch and the real ones."""
PAPER = 255

Patch = UInt8[np.ndarray, "_ _ 3"]


def code_picture(
    store: TokenStore, data: DataSet, *, codes: int = 16, patches: int = 12, seed: int = 0
) -> bytes:
    """A PNG: a row for each of some codes, its mean patch and patches of different images.

    Codes are drawn at random from those that enough of a random sample of images have. Where the
    store does not know mean patches, they are those of the sample. Raises UserError.
    """
    if store.kind != "codes":
        raise UserError(f"{store.root}: holds features, not codes; there are no codes to show")
    found = _patches_of_codes(store, data, seed, most=patches)
    known = store.patches()
    rows = []
    for code in _chosen(found, count=codes, patches=patches, seed=seed):
        mean = np.mean(found[code], 0).astype(np.uint8) if known is None else None
        if known is not None:
            mean = _pixels_of(known[code], found[code][0].shape)
        assert mean is not None
        rows.append(_row(mean, found[code], patches))
    gap = np.full((GAP_PX, rows[0].shape[1], 3), PAPER, np.uint8)
    picture = np.concatenate([part for row in rows for part in (row, gap)])
    done, data_ = cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    assert done
    return data_.tobytes()


def _patches_of_codes(
    store: TokenStore, data: DataSet, seed: int, *, most: int
) -> dict[int, list[Patch]]:
    """Up to `most` patches of each code, each of another image."""
    rows, columns = store.encoder.grid
    found: dict[int, list[Patch]] = {}
    for sample in samples(store, data, count=IMAGES, seed=seed):
        height, width = (store.encoder.size // side for side in (rows, columns))
        for pixels, codes in zip(sample.pixels, sample.stored, strict=True):
            cells = pixels.reshape(rows, height, columns, width, 3).swapaxes(1, 2)
            cells = cells.reshape(rows * columns, height, width, 3)
            for code, first in zip(*np.unique(codes, return_index=True), strict=True):
                kept = found.setdefault(int(code), [])
                if len(kept) < most:
                    kept.append(cells[first].copy())
    if not found:
        raise UserError(f"{data.root}: none of the sampled images can be read")
    return found


def _chosen(found: dict[int, list[Patch]], *, count: int, patches: int, seed: int) -> list[int]:
    """Random codes that fill a row, and after them those that fill most of one."""
    codes = np.array(sorted(found))
    keys = sample_keys(key_of(seed, "tokens show"), codes, 0)
    missing = np.array([patches - len(found[code]) for code in codes.tolist()])
    return codes[np.lexsort((keys, missing))][:count].tolist()


def _pixels_of(patch: np.ndarray, shape: tuple[int, ...]) -> Patch:
    """A normalised patch, ordered (row, column, channel)."""
    image = torch.from_numpy(patch.astype(np.float32)).reshape(shape).permute(2, 0, 1)
    return to_pixels(image[None])[0].numpy()


def _row(mean: Patch, patches: list[Patch], count: int) -> Patch:
    height, width = mean.shape[:2]
    scale = -(-PATCH_PX // min(height, width))
    empty = np.full_like(mean, PAPER)
    parts = [_scaled(mean, scale), _gap(height * scale, MEAN_GAP_PX)]
    for patch in [*patches, *[empty] * (count - len(patches))]:
        parts += [_scaled(patch, scale), _gap(height * scale, GAP_PX)]
    return np.concatenate(parts, axis=1)


def _scaled(patch: Patch, scale: int) -> Patch:
    return patch.repeat(scale, 0).repeat(scale, 1)


def _gap(height: int, width: int) -> Patch:
    return np.full((height, width, 3), PAPER, np.uint8)
