"""Colours, lines and words that are the same in every figure and table of a report."""

from __future__ import annotations

from collections.abc import Sequence

from mimlab.compare.cells import Cell, ratios, variants

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#5B5B5B", "#8C6BB1")
"""Okabe and Ito (2008), Color Universal Design, without black and yellow, which light paper
swallows; grey and purple added at the end."""
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "x")
INK, MUTED, RULE = "#1d2530", "#5d6875", "#dfe3e8"
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Liberation Sans', sans-serif"
BASELINE_NAMES = {"random-init": "random-initialised encoder", "raw-pixels": "raw pixels"}
BASELINE_DASHES = {"random-init": "dot", "raw-pixels": "dash"}


class Style:
    """Which colour a masking has and which line a ratio, all through a report."""

    def __init__(self, cells: Sequence[Cell]) -> None:
        names = variants(cells)
        # More variants than colours: those of one masking share its colour.
        self._by_name = len(names) > len(PALETTE)
        keys = list(dict.fromkeys(cell.masking for cell in cells)) if self._by_name else names
        self._colours = {key: PALETTE[i % len(PALETTE)] for i, key in enumerate(keys)}
        self._ratios = {ratio: i for i, ratio in enumerate(ratios(cells))}

    def colour(self, cell: Cell) -> str:
        """Hex colour of a masking."""
        return self._colours[cell.masking if self._by_name else cell.variant]

    def dash(self, cell: Cell) -> str:
        """Line of a ratio."""
        return DASHES[self._ratios[cell.ratio] % len(DASHES)]

    def symbol(self, cell: Cell) -> str:
        """Marker of a ratio."""
        return SYMBOLS[self._ratios[cell.ratio] % len(SYMBOLS)]


def metric_name(metric: str) -> str:
    """`probe/knn/top1` → `knn top-1`."""
    words = metric.removeprefix("probe/").replace("/top1", " top-1").replace("/miou", " mIoU")
    return words.replace("/", " ")


def baseline_name(label: str) -> str:
    """What a baseline is called in words."""
    return BASELINE_NAMES.get(label, label)
