"""Figures of the steps since the last point of the curves; part of the training state."""

from __future__ import annotations

import time

import torch

from mimlab.errors import TrialError
from mimlab.train.clock import PHASES, Clock
from mimlab.train.stepper import FIGURES, StepResult

TIMING_KEYS = frozenset(
    {"train/images_per_s", "train/wait_share", *(f"train/{name}_share" for name in PHASES)}
)
"""Metrics that differ between two runs of the same step."""


class Diverged(TrialError):
    """The loss or the gradient of a step is not finite."""

    def __init__(self, step: int, figures: torch.Tensor) -> None:
        super().__init__("diverged", f"loss or gradient of step {step} is not finite")
        self.step = step
        self.figures = figures
        """(steps, figures) of the steps up to it, `FIGURES` first."""


class Meter:
    """Collects step figures on the device and reads them once for each logged point."""

    def __init__(
        self,
        pending: torch.Tensor,
        clock: Clock,
        *,
        names: tuple[str, ...] = FIGURES,
        skipped: int,
        visible_tokens: float,
        scaled: bool = False,
    ) -> None:
        """`pending` (steps, figures): figures since the last point, from a checkpoint or empty.
        `names` are those of the figures, `FIGURES` first.

        `scaled`: a gradient scaler skips steps whose gradient is not finite (fp16).
        """
        self._names = names
        self._pending = list(pending.unbind())
        self._clock = clock
        self._scaled = scaled
        self.skipped = skipped
        self.visible_tokens = visible_tokens
        self._started = time.perf_counter()
        self._images = 0
        self._waited_s = 0.0
        self.images_per_s = 0.0

    def add(self, result: StepResult, *, images: int, waited_s: float) -> None:
        self._pending.append(result.figures)
        self._images += images
        self._waited_s += waited_s

    def pending(self) -> torch.Tensor:
        """(steps, figures) on the host, for a checkpoint."""
        if not self._pending:
            return torch.zeros(0, len(self._names))
        return torch.stack(self._pending).cpu()

    def check(self, step: int) -> torch.Tensor:
        """The pending figures, float64, whose last row is `step`.

        Raises:
            TrialError: `diverged`, naming the first step whose loss or gradient is not finite.
        """
        table = self.pending().double()
        finite = torch.isfinite(table[:, FIGURES.index("loss")])
        if not self._scaled:
            finite &= torch.isfinite(table[:, FIGURES.index("grad_norm")])
        if not finite.all():
            bad = step - len(finite) + 1 + int((~finite).nonzero()[0])
            raise Diverged(bad, table)
        return table

    def read(self, step: int) -> dict[str, float]:
        """The metrics of the steps since the last call, of which `step` is the last one.

        Raises Diverged, as `check`.
        """
        columns = dict(zip(self._names, self.check(step).unbind(dim=1), strict=True))
        self._pending = []
        self.skipped += int(columns["skipped"].sum())
        self.visible_tokens += float(columns["visible_tokens"].sum())
        elapsed_s = time.perf_counter() - self._started
        self.images_per_s = self._images / elapsed_s
        metrics = {
            "train/loss": float(columns["loss"].mean()),
            "train/grad_norm": float(columns["grad_norm"].mean()),
            "train/visible_tokens": self.visible_tokens,
            "train/images_per_s": self.images_per_s,
            "train/wait_share": min(1.0, self._waited_s / elapsed_s),
            **{f"train/{name}_share": s / elapsed_s for name, s in self._clock.read().items()},
            "mask/ratio_realised": float(columns["hidden"].mean()),
            "mask/repaired": float(columns["repaired"].mean()),
            "data/skipped": float(self.skipped),
            **{f"train/{n}": float(columns[n].mean()) for n in self._names[len(FIGURES) :]},
        }
        self._started, self._images, self._waited_s = time.perf_counter(), 0, 0.0
        return metrics

    @property
    def stop_asked(self) -> bool:
        """Whether any rank asked to stop at the last step; waits for the device."""
        return bool(self._pending) and float(self._pending[-1][FIGURES.index("stop")]) > 0
