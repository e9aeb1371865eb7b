"""Placement groups that nobody runs in: an autoscaler adds nodes for those that have no place."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from ray.util.placement_group import (
    PlacementGroup,
    placement_group,
    placement_group_table,
    remove_placement_group,
)

Bundles = list[dict[str, float]]
"""What has to be on one node each."""

MOST = 16
"""Wishes at once: a cluster may take its time with more, and shows each as demand."""
AGAIN_S = 60.0
"""Between a wish that had a place, though its trial has none, and the next."""


@dataclass
class Wishes:
    """Each for what one trial needs. They end with the driver, too."""

    clock: Callable[[], float] = time.monotonic
    _groups: list[PlacementGroup] = field(default_factory=list)
    _not_before: float = 0.0

    def hold(self, count: int, bundles: Bundles) -> None:
        """See to it that there are `count`."""
        for group in [each for each in self._groups if _has_place(each)]:
            # What is free at this moment is others' to read and probe with.
            self._remove(group)
            self._not_before = self.clock() + AGAIN_S
        wanted = min(count, MOST)
        while len(self._groups) > wanted:
            self._remove(self._groups[-1])
        while len(self._groups) < wanted and self.clock() >= self._not_before:
            self._groups.append(placement_group(bundles, strategy="PACK"))

    def grant(self) -> None:
        """A trial starts: what was wished for it is free for it."""
        for group in [each for each in self._groups if _has_place(each)] or self._groups[:1]:
            self._remove(group)

    def _remove(self, group: PlacementGroup) -> None:
        remove_placement_group(group)
        self._groups.remove(group)


def _has_place(group: PlacementGroup) -> bool:
    return placement_group_table(group).get("state") == "CREATED"
