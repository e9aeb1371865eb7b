"""What a registered part asks of the others, in words."""

from __future__ import annotations

from mimlab.spec.checks import APPLIED, KINDS
from mimlab_objectives.masking.plan import Masking
from mimlab_objectives.masking.schedules import RatioSchedule
from mimlab_objectives.objectives.base import Objective
from mimlab_objectives.targets.base import Target
from mimlab_objectives.tokenizers.base import PatchEncoder

_COUNTS = {"batch": "one count a batch", "per_image": "a count of its own in each image"}


def needs_of(part: type[Objective | Target | Masking | RatioSchedule | PatchEncoder]) -> list[str]:
    """Short phrases; none where a part goes with everything."""
    if issubclass(part, Masking):
        return _of_masking(part)
    if issubclass(part, Objective):
        return _of_objective(part)
    if issubclass(part, PatchEncoder):
        return [f"gives {part.kind}"]
    return _of_target(part) if issubclass(part, Target) else []


def _of_masking(part: type[Masking]) -> list[str]:
    needs = [f"signal {name}" for name in sorted(part.requires)]
    if part.application != "hide":
        needs.append(f"{APPLIED[part.application]} instead of hiding patches")
    if part.count in _COUNTS:
        needs.append(_COUNTS[part.count])
    if part.couples_batch:
        needs.append("plans the whole batch at once")
    return needs


def _of_objective(part: type[Objective]) -> list[str]:
    needs = ["labels"] if part.uses_labels else []
    needs.append("target: " + ", ".join(k for k in KINDS if k in part.target_kinds))
    if part.needs_equal_counts():
        needs.append("equal counts")
    if part.applications != {"hide"}:
        needs.append("masking that " + " or ".join(APPLIED[a] for a in sorted(part.applications)))
    if part.supplies:
        needs.append("gives signal " + ", ".join(sorted(part.supplies)))
    return needs


def _of_target(part: type[Target]) -> list[str]:
    needs = [KINDS[part.kind]]
    if part.fit_images:
        needs.append(f"sees {part.fit_images:,} images before the first step")
    return needs
