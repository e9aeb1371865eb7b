"""The Ray cluster that commands beside `mimlab run` join, where one is named."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def named_cluster(scratch: Path) -> Iterator[None]:
    """Meanwhile, the cluster that RAY_ADDRESS names, if it names one: its nodes then must see all
    folders. Else whoever needs a Ray starts one of this machine. Raises NotNow, UserError."""
    from mimlab.search.head import named_head

    if named_head() is None:
        yield
        return
    from mimlab.search.cluster import driver_cluster  # Ray and torch take seconds

    with driver_cluster(scratch):
        yield
