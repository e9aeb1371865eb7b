"""Something that is done every now and then, beside everything else."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def repeated(look: Callable[[], bool], *, every_s: float, name: str) -> Iterator[None]:
    """Meanwhile, call `look` in a thread of that name, until it returns True.

    The first call comes after `every_s`; none is under way once the context has ended. What `look`
    raises ends the thread: it catches what may pass.
    """
    ended = threading.Event()

    def run() -> None:
        while not ended.wait(every_s):
            if look():
                return

    thread = threading.Thread(target=run, name=name, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
