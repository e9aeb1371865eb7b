"""Running an encoder over many images, in batches that the device has memory for."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Shaped, UInt8
from torch import Tensor

from mimlab.errors import UserError
from mimlab.train.pixels import normalise
from mimlab_objectives.tokenizers.base import PatchEncoder

CPU_BATCH = 32
"""Larger ones only leave the caches of a CPU."""
FIRST_BATCH, LARGEST_BATCH = 32, 1024
WORTHWHILE = 1.05
"""A larger batch has to be this much faster."""


class Halving:
    """How many images a network is given at once: half as many when they do not fit into memory."""

    def __init__(self, size: int, label: str) -> None:
        """`label` names the network to people."""
        self.size = size
        self._label = label

    def run(
        self, encode: Callable[[Tensor], Tensor], images: Shaped[Tensor, "images ..."]
    ) -> Shaped[Tensor, "images ..."]:
        """Encode all of them; a part that does not fit is halved, also for all that follow.

        Raises UserError where a single image does not fit.
        """
        while True:
            try:
                return torch.cat([encode(part) for part in images.split(self.size)])
            except torch.OutOfMemoryError as error:
                if self.size == 1:
                    raise UserError(
                        f"{self._label}: one image does not fit into the memory of "
                        f"{images.device}; run it where there is more"
                    ) from error
            # Outside of the handler, whose traceback holds on to the tensors.
            torch.cuda.empty_cache()
            self.size //= 2


class Batches:
    """An encoder on its device, and how many images it is given at once."""

    def __init__(
        self, encoder: PatchEncoder, device: torch.device, size: int | None = None
    ) -> None:
        """`size` images a batch; None: as many as serve the device best, which is tried."""
        self._encoder = encoder.eval().to(device)
        self._device = device
        self._parts = Halving(size or CPU_BATCH, encoder.label)
        if size is None and device.type == "cuda":
            self._parts.size = self._best_size()

    @property
    def size(self) -> int:
        """Images at once."""
        return self._parts.size

    @torch.inference_mode()
    def run(
        self, pixels: UInt8[np.ndarray, "images size size 3"]
    ) -> Shaped[Tensor, "images tokens *width"]:
        """Codes or features, on the device, perhaps still being computed.

        Raises UserError where a single image does not fit.
        """
        moved = torch.from_numpy(pixels).to(self._device, non_blocking=True)
        return self._parts.run(self._encode, moved)

    def _encode(self, pixels: Tensor) -> Tensor:
        return self._encoder.encode(normalise(pixels))

    def _best_size(self) -> int:
        """The smallest batch beyond which doubling gains little, or does not fit."""
        best, best_rate, size = FIRST_BATCH, 0.0, FIRST_BATCH
        while size <= LARGEST_BATCH:
            self._parts.size = size
            found = self._rate(size)
            if self.size < size or found < WORTHWHILE * best_rate:
                return min(best, self.size)
            best, best_rate, size = size, found, 2 * size
        return best

    def _rate(self, size: int) -> float:
        """Images per second, after a round that warms up."""
        side = self._encoder.size
        pixels = np.zeros((size, side, side, 3), np.uint8)
        self.run(pixels).cpu()
        start = time.perf_counter()
        self.run(pixels).cpu()
        return size / (time.perf_counter() - start)
