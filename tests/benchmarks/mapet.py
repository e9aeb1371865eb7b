"""MaPeT at ViT-T/16, 224 px, 8192 codes: the static-mask form against the published one, which has
two streams with per-sample dense masks and its attention matrices written out; time and memory."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from jaxtyping import Float, Int
from literal_mapet import additive, literal_masks, literal_predictions
from torch import Tensor
from torch.nn import functional

from benchmarks.measuring import Row, alternate, medians, ratio, seconds_of
from mimlab_objectives.backbones.vit import BackboneParams, VitBackbone
from mimlab_objectives.masking.plan import MaskPlan
from mimlab_objectives.masking.select import select
from mimlab_objectives.objectives.mapet import Mapet, PermutedParams, target_order
from mimlab_objectives.targets.tokens import TokenParams, TokenTarget

SIZE, GRID, BATCH, ROUNDS = 224, (14, 14), 16, 5
TOKENS, HIDDEN, CODES = 196, 147, 8192
MIB = 2**20
FORMS = ("static", "literal")
MAX_DIFFERENCE = 1e-5


class Work:
    """A model, a batch, and the masks that the published form's loader would have made."""

    def __init__(self, precision: str, *, batch: int = BATCH) -> None:
        torch.manual_seed(0)
        backbone = VitBackbone(
            BackboneParams(name="vit_tiny_patch16_224", layer_scale=0.1, drop_path=0.0), SIZE
        )
        target = TokenTarget(TokenParams(vocabulary=CODES), 16, GRID)
        self.mapet = Mapet(PermutedParams(), backbone, target).train()
        self.images: Float[Tensor, "batch 3 height width"] = torch.randn(batch, 3, SIZE, SIZE)
        keys = torch.arange(batch)
        self.plan: MaskPlan = select(torch.zeros(batch, TOKENS), HIDDEN, keys, GRID)
        self.order = target_order(self.plan)
        content, query = literal_masks(self.order[:, 0], TOKENS, mask_keys=True)
        self.masks = additive(content), additive(query)
        self.labels: Int[Tensor, "batch tokens"] = torch.randint(CODES, (batch, TOKENS))
        self._precision = precision

    def static(self) -> Tensor:
        return self.mapet.predict(self.images, self.plan, self.order)

    def literal(self) -> Tensor:
        return literal_predictions(self.mapet, self.images, self.order[:, 0], self.masks)

    def step(self, form: str) -> None:
        """Forward and backward of the paper's loss."""
        self.mapet.zero_grad(set_to_none=True)
        order = self.order[:, 0]
        order = order if form == "static" else order.sort(dim=1).values
        with torch.autocast("cpu", torch.bfloat16, enabled=self._precision == "bf16"):
            logits = (self.static if form == "static" else self.literal)()
        labels = self.labels.gather(1, order)
        functional.cross_entropy(logits.float().flatten(0, 1), labels.flatten()).backward()

    def difference(self) -> float:
        """Largest difference of the logits, in the order of the static form."""
        place = self.order[:, 0].argsort(dim=1).argsort(dim=1)
        with torch.no_grad():
            literal = self.literal().gather(1, place[..., None].expand(-1, -1, CODES))
            return float((self.static() - literal).abs().max())


def run(folder: Path) -> list[Row]:
    del folder  # nothing is read
    if (difference := Work("fp32", batch=2).difference()) > MAX_DIFFERENCE:
        raise RuntimeError(f"the two forms of MaPeT differ by {difference:.1e}")
    return [row for precision in ("fp32", "bf16") for row in (_time(precision), _memory(precision))]


def _time(precision: str) -> Row:
    work = Work(precision)

    def rate(form: str) -> float:
        step: Callable[[], None] = partial(work.step, form)
        return BATCH / seconds_of(step)

    found = alternate({form: partial(rate, form) for form in FORMS}, ROUNDS)
    return Row(
        f"forward and backward of mapet, ViT-T/16, {precision}",
        "per-sample dense masks, same logits",
        ratio(found, *FORMS),
        "≥ 1.15",
        medians(found, "images/s"),
    )


def _memory(precision: str) -> Row:
    found = {form: _peak(form, precision) for form in FORMS}
    return Row(
        f"peak memory of the same, {precision}",
        "the same",
        found["static"] / found["literal"],
        "≤ 0.7",
        {f"{form} MiB": mib for form, mib in found.items()},
    )


def _peak(form: str, precision: str) -> float:
    """MiB that one step adds, in a process of its own: its peak, less what it held before."""
    command = [sys.executable, "-m", "benchmarks.mapet", form, precision]
    found = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(found.stdout.split()[-1])


def _added(form: str, precision: str) -> float:
    work = Work(precision)
    if form == "static":
        del work.masks
    before = _high_water()
    work.step(form)
    return _high_water() - before


def _high_water() -> float:
    """MiB. Not `ru_maxrss`: a process inherits that of the one which started it."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024 / MIB


if __name__ == "__main__":
    print(_added(*sys.argv[1:3]))
