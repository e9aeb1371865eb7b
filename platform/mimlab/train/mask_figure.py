"""A picture of masks: over images, as a map of rates, and as counts; one column a masking."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from mimlab.train.mask_draws import Draws

COLUMNS, ROWS = 6, 4
"""Masks that are shown of each masking."""
TILE, GAP, MARGIN = 112, 6, 28
MAP_SIDE = 264
LEAST_BARS = 12
INK, SOFT, PAPER, HIDDEN = (32, 36, 44), (120, 126, 136), (255, 255, 255), (236, 238, 242)
BAR = (46, 96, 164)
LOW, MIDDLE, HIGH = (247, 249, 252), (120, 168, 214), (12, 44, 96)
"""Of the map: least, middle and greatest rate."""

Picture = UInt8[np.ndarray, "height width 3"]


def figure(images: UInt8[Tensor, "batch size size 3"], draws: list[Draws]) -> Picture:
    """One column for each of `draws`; maps share one scale of colours, counts one axis."""
    low = min(float(each.rate.min()) for each in draws)
    high = max(float(each.rate.max()) for each in draws)
    counts = torch.cat([each.counts for each in draws])
    axis = int(counts.min()), int(counts.max())
    panels = [_panel(images, each, (low, high), axis) for each in draws]
    return np.concatenate(panels, axis=1)


def _panel(
    images: UInt8[Tensor, "batch size size 3"],
    draws: Draws,
    rates: tuple[float, float],
    axis: tuple[int, int],
) -> Picture:
    width = 2 * MARGIN + COLUMNS * (TILE + GAP) - GAP
    top = MARGIN + 58
    bottom = top + ROWS * (TILE + GAP) + 44
    canvas = Image.new("RGB", (width, bottom + MAP_SIDE + 56), PAPER)
    pen = ImageDraw.Draw(canvas)
    tokens = draws.rate.numel()
    mean = float(draws.counts.float().mean())
    pen.text((MARGIN, MARGIN - 4), draws.title, INK, ImageFont.load_default(24))
    told = f"{mean / tokens:.1%} hidden: {mean:.1f} of {tokens} patches in the mean"
    if draws.repaired:
        told += f", {draws.repaired:.1f} of them moved by repair"
    pen.text((MARGIN, MARGIN + 28), told, SOFT, ImageFont.load_default(15))
    for number in range(COLUMNS * ROWS):
        tile = _masked(images[number % len(images)], draws.shown[number % len(draws.shown)])
        row, column = divmod(number, COLUMNS)
        canvas.paste(tile, (MARGIN + column * (TILE + GAP), top + row * (TILE + GAP)))
    _map(canvas, draws, rates, (MARGIN, bottom))
    _counts(pen, draws, axis, (MARGIN + MAP_SIDE + 110, bottom), width - MARGIN)
    return np.asarray(canvas)


def _masked(image: UInt8[Tensor, "size size 3"], hidden: Tensor) -> Image.Image:
    """An image whose hidden patches are nearly paper."""
    tile = Image.fromarray(image.numpy())
    sharp = Image.Resampling.NEAREST if image.shape[0] < TILE else Image.Resampling.LANCZOS
    tile = tile.resize((TILE, TILE), sharp)
    covered = Image.fromarray(hidden.numpy().astype(np.uint8) * 255)
    covered = covered.resize((TILE, TILE), Image.Resampling.NEAREST)
    ghost = Image.blend(Image.new("RGB", tile.size, HIDDEN), tile, 0.12)
    return Image.composite(ghost, tile, covered)


def _map(
    canvas: Image.Image, draws: Draws, rates: tuple[float, float], at: tuple[int, int]
) -> None:
    pen, small = ImageDraw.Draw(canvas), ImageFont.load_default(14)
    pen.text((at[0], at[1] - 24), "how often each position is hidden", INK, small)
    picture = Image.fromarray(_coloured(draws.rate.numpy(), rates))
    canvas.paste(picture.resize((MAP_SIDE, MAP_SIDE), Image.Resampling.NEAREST), at)
    pen.rectangle((*at, at[0] + MAP_SIDE - 1, at[1] + MAP_SIDE - 1), outline=SOFT)
    told = f"{float(draws.rate.min()):.2f} … {float(draws.rate.max()):.2f}"
    pen.text((at[0], at[1] + MAP_SIDE + 8), told, SOFT, small)
    scale = np.linspace(rates[1], rates[0], MAP_SIDE, dtype=np.float32)[:, None].repeat(14, 1)
    left = at[0] + MAP_SIDE + 12
    canvas.paste(Image.fromarray(_coloured(scale, rates)), (left, at[1]))
    pen.rectangle((left, at[1], left + 13, at[1] + MAP_SIDE - 1), outline=SOFT)
    pen.text((left + 20, at[1] - 2), f"{rates[1]:.2f}", SOFT, small)
    pen.text((left + 20, at[1] + MAP_SIDE - 16), f"{rates[0]:.2f}", SOFT, small)


def _coloured(
    values: np.ndarray, rates: tuple[float, float]
) -> UInt8[np.ndarray, "rows columns 3"]:
    share = np.clip((values - rates[0]) / max(rates[1] - rates[0], 1e-6), 0, 1)
    stops = np.array([LOW, MIDDLE, HIGH], np.float32)
    found = [np.interp(share, (0, 0.5, 1), stops[:, channel]) for channel in range(3)]
    return np.stack(found, axis=-1).round().astype(np.uint8)


def _counts(
    pen: ImageDraw.ImageDraw, draws: Draws, axis: tuple[int, int], at: tuple[int, int], right: int
) -> None:
    """Bars of how many masks hide how many patches."""
    small = ImageFont.load_default(14)
    pen.text((at[0], at[1] - 24), f"hidden patches of {len(draws.counts):,} masks", INK, small)
    around = max(1, (LEAST_BARS - (axis[1] - axis[0])) // 2)
    least, most = axis[0] - around, axis[1] + around
    bars = min(40, most - least + 1)
    edges = np.linspace(least - 0.5, most + 0.5, bars + 1)
    heights, _ = np.histogram(draws.counts.numpy(), edges)
    width, floor = (right - at[0]) / bars, at[1] + MAP_SIDE
    for number, count in enumerate(heights):
        tall = count / max(heights.max(), 1) * (MAP_SIDE - 20)
        left = at[0] + number * width
        if count:
            pen.rectangle((left + 1, floor - max(tall, 1), left + width - 1, floor), fill=BAR)
    pen.line((at[0], floor, right, floor), fill=SOFT)
    pen.text((at[0], floor + 8), str(least), SOFT, small)
    pen.text((right, floor + 8), str(most), SOFT, small, anchor="ra")
    found = f"{int(draws.counts.min())} … {int(draws.counts.max())}"
    pen.text(((at[0] + right) / 2, floor + 8), found, INK, small, anchor="ma")
