"""Room for trials on a cluster as it is now: its nodes come and go, some only when asked for."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from mimlab.errors import NoRoom, UserError
from mimlab.search.cluster import Cluster
from mimlab.search.placement import Capacity, cpus_beside, shortage, trials_that_fit
from mimlab.search.wishes import Bundles, Wishes
from mimlab.spec.study import Resources

LOOK_S = 1.0
JOIN_S = 30.0
"""For the nodes of a cluster that has only just begun to join its head."""
GROW_S = 1800.0
"""For a machine that was asked for; clouds give one within minutes, or have none to give."""


@dataclass
class Room:
    """Says whether one trial more may start; asks a cluster that can grow to do so."""

    cluster: Cluster
    resources: Resources
    probes: bool
    decode: bool
    clock: Callable[[], float] = time.monotonic
    note: str = ""
    """What the trials wait for, in words; empty where none waits."""
    _wishes: Wishes = field(default_factory=Wishes)
    _next_look: float = 0.0
    _none_since: float | None = None
    """Since when not even one trial fits, and none runs."""

    def await_nodes(self, *, ran_before: bool, restarted: bool = False) -> None:
        """Return as soon as a trial fits, or may fit later because the cluster grows.

        `ran_before`: whether one did fit; `restarted`: whether a driver before this one has died,
        perhaps with the nodes that it was about to find.

        Raises UserError where none ever fits; NoRoom where one did before, so that nodes are
        missing. A cluster that this driver has started stays as it is.
        """
        wait_s = GROW_S if restarted and not ran_before else JOIN_S
        deadline = self.clock() + (0.0 if self.cluster.is_local else wait_s)
        while not self._fits(self.cluster.capacity()) and not self.cluster.grows():
            if self.clock() >= deadline:
                error = NoRoom if ran_before and not self.cluster.is_local else UserError
                raise error(self._shortage())
            time.sleep(LOOK_S)

    def has_place(self, running: int, waiting: int) -> bool:
        """Whether one of those that wait may start beside those that run. Raises NoRoom where a
        cluster that grows has not done so for too long."""
        if self.clock() < self._next_look:
            return False
        fits = self._fits(self.cluster.capacity())
        if running < fits:
            self._wishes.grant()
            self.note, self._none_since = "", None
            return True
        self._next_look = self.clock() + LOOK_S
        if self.cluster.grows():
            self._wish(running, waiting)
        if running:
            return False
        self.note = f"waiting for nodes: {self._shortage()}"
        self._none_since = self.clock() if self._none_since is None else self._none_since
        if self.clock() - self._none_since >= GROW_S:
            raise NoRoom(f"no node came within {GROW_S / 60:.0f} min: {self._shortage()}")
        return False

    def close(self) -> None:
        """No trial waits any more."""
        self._wishes.hold(0, [])
        self.note = ""

    def _wish(self, running: int, waiting: int) -> None:
        if self.resources.gpus_per_worker:
            self._wishes.hold(waiting, self._bundles())
        else:
            # One, and with the CPUs that those at work read and probe with: it could have a place
            # in them.
            self._wishes.hold(1, self._bundles() + running * [self._beside()])

    def _fits(self, capacity: Capacity) -> int:
        return trials_that_fit(self.resources, capacity, probes=self.probes, decode=self.decode)

    def _shortage(self) -> str:
        capacity = self.cluster.capacity()
        return shortage(self.resources, capacity, probes=self.probes, decode=self.decode)

    def _bundles(self) -> Bundles:
        worker = {"CPU": self.resources.cpus_per_worker}
        if self.resources.gpus_per_worker:
            worker["GPU"] = self.resources.gpus_per_worker
        return [worker] * self.resources.fewest_workers + [self._beside()]

    def _beside(self) -> dict[str, float]:
        return {"CPU": cpus_beside(probes=self.probes, decode=self.decode)}
