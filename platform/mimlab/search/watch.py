"""Whether Ray still answers: a driver without its cluster would wait for it for ever.

Ray's own client gives a lost head 60 s and then ends the process without a word; a node whose own
raylet died is never told.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator

import ray

LOOK_S = 1.0
LOST_S = 30.0
"""Without an answer for so long, a cluster is lost; a head under load may take a while."""
ANSWER_S = 5.0


class _Looks:
    """Asks the head for its nodes, again and again, in a thread that may hang."""

    def __init__(self) -> None:
        self.heard = threading.Event()
        self.node_died = threading.Event()
        self.ended = threading.Event()
        self._node = ray.get_runtime_context().get_node_id()

    def start(self) -> None:
        threading.Thread(target=self._look, name="ray-looks", daemon=True).start()

    def _look(self) -> None:
        while not self.ended.is_set():
            # Whatever it raises, it is no answer.
            with contextlib.suppress(Exception):
                for node in ray.nodes():
                    if node["NodeID"] == self._node and not node["Alive"]:
                        self.node_died.set()
                self.heard.set()
            self.ended.wait(LOOK_S)


def answers(timeout_s: float = ANSWER_S) -> bool:
    """Whether the head of the cluster answers, and this process's node belongs to it."""
    looks = _Looks()
    looks.start()
    heard = looks.heard.wait(timeout_s)
    looks.ended.set()
    return heard and not looks.node_died.is_set()


@contextlib.contextmanager
def watched(on_lost: Callable[[str], None], *, lost_s: float = LOST_S) -> Iterator[None]:
    """Meanwhile, call `on_lost(reason)` in another thread, once, if the cluster is lost.

    Silence is counted in looks, not by a clock: a process that was suspended has missed none.
    """
    looks = _Looks()

    def watch() -> None:
        silent = 0
        while not looks.ended.wait(LOOK_S):
            silent = 0 if looks.heard.is_set() else silent + 1
            looks.heard.clear()
            if looks.node_died.is_set():
                on_lost("Ray's process on this machine died")
                return
            if silent * LOOK_S >= lost_s:
                on_lost(f"its head has not answered for {lost_s:.0f} s")
                return

    looks.start()
    threading.Thread(target=watch, name="ray-watch", daemon=True).start()
    try:
        yield
    finally:
        looks.ended.set()
