"""How long a driver waits for the nodes of a cluster that has too few, and how it ends then."""

from __future__ import annotations

from itertools import count

import pytest

from mimlab.errors import NoRoom, UserError
from mimlab.search.cluster import Cluster
from mimlab.search.placement import Capacity
from mimlab.search.room import GROW_S, JOIN_S, Room
from mimlab.spec.study import Resources

STEP_S = 10.0


class Empty(Cluster):
    """No node ever comes, by itself or asked."""

    def capacity(self) -> Capacity:
        return Capacity(0.0, 0.0)

    def grows(self) -> bool:
        return False


@pytest.mark.parametrize(
    ("local", "ran_before", "restarted", "end", "wait_s"),
    [
        (False, False, False, UserError, JOIN_S),
        (False, True, False, NoRoom, JOIN_S),
        (False, True, True, NoRoom, JOIN_S),
        # The one before may have died with the nodes; or the study fits on no cluster.
        (False, False, True, UserError, GROW_S),
        (True, False, False, UserError, 0.0),
        # What this driver has started itself gains no nodes.
        (True, True, True, UserError, 0.0),
    ],
)
def test_what_never_fits(
    monkeypatch, local: bool, ran_before: bool, restarted: bool, end: type, wait_s: float
) -> None:
    monkeypatch.setattr("mimlab.search.room.LOOK_S", 0.0)
    seconds = count(0.0, STEP_S)
    resources = Resources(cpus_per_worker=1)
    room = Room(Empty(local), resources, probes=True, decode=False, clock=lambda: next(seconds))
    with pytest.raises(end, match="this cluster has 0"):
        room.await_nodes(ran_before=ran_before, restarted=restarted)
    assert wait_s <= next(seconds) - STEP_S <= wait_s + 2 * STEP_S
