"""Running an encoder over many images, in batches that the device has memory for."""

from __future__ import annotations

import time

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


class Batches:
    """An encoder on its device, and how many images it is given at once."""

    def __init__(
        self, encoder: PatchEncoder, device: torch.device, size: int | None = None
    ) -> None:
        """`size` images a batch; None: as many as serve the device best, which is tried."""
        self._encoder = encoder.eval().to(device)
        self._device = device
        self.size = size or CPU_BATCH
        if size is None and device.type == "cuda":
            self.size = self._best_size()

    @torch.inference_mode()
    def run(
        self, pixels: UInt8[np.ndarray, "images size size 3"]
    ) -> Shaped[Tensor, "images tokens *width"]:
        """Codes or features, on the device, perhaps still being computed.

        A batch that does not fit is halved, also for all that follow. Raises UserError where a
        single image does not fit.
        """
        moved = torch.from_numpy(pixels).to(self._device, non_blocking=True)
        while True:
            try:
                return torch.cat([self._encode(part) for part in moved.split(self.size)])
            except torch.OutOfMemoryError as error:
                if self.size == 1:
                    raise UserError(
                        f"{self._encoder.label}: one image does not fit into the memory of "
                        f"{self._device}; encode where there is more"
                    ) from error
            # Outside of the handler, whose traceback holds on to the tensors.
            torch.cuda.empty_cache()
            self.size //= 2

    def _encode(self, pixels: Tensor) -> Tensor:
        return self._encoder.encode(normalise(pixels))

    def _best_size(self) -> int:
        """The smallest batch beyond which doubling gains little, or does not fit."""
        best, best_rate, size = FIRST_BATCH, 0.0, FIRST_BATCH
        while size <= LARGEST_BATCH:
            self.size = size
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
