"""Figures of the steps since the last point of the curves; part of the training state."""

from __future__ import annotations

import time
from collections import deque

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mimlab.errors import TrialError
from mimlab.train.clock import PHASES, Clock
from mimlab.train.stepper import FIGURES, StepResult

TIMING_KEYS = frozenset(
    {"train/images_per_s", "train/wait_share", *(f"train/{name}_share" for name in PHASES)}
)
"""Metrics that differ between two runs of the same step."""


HISTORY_STEPS = 300
"""Whose figures are told when a trial diverges."""


class Diverged(TrialError):
    """The loss or the gradient of a step is not finite."""

    def __init__(
        self,
        step: int,
        figures: Float[Tensor, "steps figures"],
        *,
        last_step: int,
        unsound: Bool[Tensor, " samples"],
    ) -> None:
        """`step`: the first such step; `figures`: of consecutive steps up to `last_step`, at which
        it was noticed; `unsound`: which samples of the global batch have a loss that is not finite.
        """
        super().__init__("diverged", f"loss or gradient of step {step} is not finite")
        self.step = step
        self.figures = figures
        self.last_step = last_step
        self.unsound = unsound


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
        self._unsound: list[Bool[Tensor, " samples"]] = []
        self._history: deque[Tensor] = deque(maxlen=HISTORY_STEPS)
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
        self._unsound.append(result.unsound)
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
            raise self._diverged(step, table, int((~finite).nonzero()[0]))
        return table

    def _diverged(self, step: int, table: Float[Tensor, "steps figures"], row: int) -> Diverged:
        """The error, where `row` of the pending steps is the first one that is not finite."""
        rows = deque((*self._history, *table.unbind()), maxlen=HISTORY_STEPS)
        # Counted from the end: steps that a checkpoint brought have figures only.
        back = len(table) - row
        return Diverged(
            step - back + 1,
            torch.stack(list(rows)),
            last_step=step,
            unsound=self._unsound[-back].cpu(),
        )

    def read(self, step: int) -> dict[str, float]:
        """The metrics of the steps since the last call, of which `step` is the last one.

        Raises Diverged, as `check`.
        """
        table = self.check(step)
        columns = dict(zip(self._names, table.unbind(dim=1), strict=True))
        self._history.extend(table.unbind())
        self._pending, self._unsound = [], []
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
