"""The bill of a study: what its shapes take and cost, and what of that is too much."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict

from mimlab.search.costs import Measured, Range
from mimlab.search.hours_text import hours_text

GIB = 2**30


class ShapeBill(BaseModel):
    """Of the trials whose steps do the same arithmetic."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    point: dict[str, str | int | float | bool | None]
    """Of the trial that was measured."""
    trials: int
    steps: int
    """That are left, of all these trials."""
    measured: Measured
    images_per_s: float
    """Of a trial."""
    wall_s: Range
    """If these trials ran alone."""
    hours: Range
    workers_at_once: int
    """That share the host's memory, or a GPU's."""
    storage_bytes: int

    @property
    def label(self) -> str:
        return ", ".join(f"{path}={value}" for path, value in self.point.items()) or "the study"

    @property
    def memory_bytes(self) -> int:
        """Peak of the workers that share a memory."""
        return self.workers_at_once * self.measured.peak_bytes


class Bill(BaseModel):
    """What the trials of a study that are still to run will take."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    shapes: list[ShapeBill]
    finished: int
    """Trials that are finished already: reused, and not billed."""
    failed: int
    """Trials that only `--retry-failed` starts again: not billed."""
    at_once: int
    """Trials."""
    workers: int
    """Of a trial: the fewest that it may have."""
    unit: str
    """`GPU-hours` or `CPU-hours`."""
    hours: Range
    wall_s: Range
    storage_bytes: int
    """Checkpoints, exports, boards and journals, if no trial is stopped."""
    free_bytes: int | None
    """Of the storage; None where it is a bucket."""
    spent_hours: float
    """By the unfinished submission that `mimlab run` would go on with."""
    limit_field: str
    limit_hours: float | None

    @property
    def trials(self) -> int:
        return sum(shape.trials for shape in self.shapes)

    @property
    def steps(self) -> int:
        return sum(shape.steps for shape in self.shapes)

    def warnings(self, remedies: Sequence[str]) -> list[str]:
        """What will not fit, and what would; `remedies`: what would need less, for each shape."""
        found = [
            self._too_large(shape, remedy)
            for shape, remedy in zip(self.shapes, remedies, strict=True)
            if shape.memory_bytes > shape.measured.there_bytes
        ]
        if self.free_bytes is not None and self.storage_bytes > self.free_bytes:
            found.append(
                f"storage: {gib(self.storage_bytes)} will be written and {gib(self.free_bytes)} "
                "are free; keep fewer checkpoints (train.checkpoint.keep_last, keep_best) or name "
                "another storage"
            )
        need = self.spent_hours + self.hours.high
        if self.limit_hours is not None and need > self.limit_hours:
            surely = self.spent_hours + self.hours.low > self.limit_hours
            spent = (
                f", of which {hours_text(self.spent_hours)} are spent" if self.spent_hours else ""
            )
            found.append(
                f"{self.limit_field}: the bill {'exceeds' if surely else 'may exceed'} the limit "
                f"of {self.limit_hours:,g}: it comes to {hours_text(need)} {self.unit}{spent}; "
                "trials will save and stop there"
            )
        return found

    def _too_large(self, shape: ShapeBill, remedy: str) -> str:
        peak, there = shape.measured.peak_bytes, shape.measured.there_bytes
        fits = there // peak // self.workers
        fewer = f"resources.concurrent_trials: {fits}, " if 1 <= fits < self.at_once else ""
        count = shape.workers_at_once
        workers = "a worker needs" if count == 1 else f"{count} workers at once × {gib(peak)} need"
        return (
            f"memory: {shape.label} will not fit: {workers} {gib(shape.memory_bytes)}, and "
            f"there are {gib(there)}; what would need less: {fewer}a smaller train.batch_size; "
            f"{remedy}"
        )


def gib(count: int) -> str:
    """`1.5 GiB`; MiB where it is little."""
    return f"{count / GIB:,.1f} GiB" if count >= GIB else f"{count / 2**20:,.1f} MiB"
