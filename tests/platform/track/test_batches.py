"""Requests: in order, nothing twice, and a mark that never runs ahead."""

from hypothesis import given
from hypothesis import strategies as st

from mimlab.storage.records import JournalPoint
from mimlab.track.batches import batches


def journal(sizes: list[int], after: int) -> list[JournalPoint]:
    return [
        JournalPoint(
            seq=after + i, time_ms=i, step=i, metrics={f"m{k}": float(k) for k in range(size)}
        )
        for i, size in enumerate(sizes, 1)
    ]


@given(st.lists(st.integers(0, 7), max_size=20), st.integers(1, 6), st.integers(0, 9))
def test_every_value_goes_once_in_order_in_requests_that_fit(
    sizes: list[int], limit: int, after: int
) -> None:
    points = journal(sizes, after)
    cut = list(batches(points, after=after, limit=limit))
    sent = [(value.step, value.key) for batch in cut for value in batch.values]
    assert sent == [(point.step, key) for point in points for key in point.metrics]
    assert all(len(batch.values) <= limit for batch in cut)
    assert len(cut) <= max(1, -(-len(sent) // limit))


@given(st.lists(st.integers(0, 7), min_size=1, max_size=20), st.integers(1, 6))
def test_the_mark_covers_only_what_was_sent(sizes: list[int], limit: int) -> None:
    points = journal(sizes, 0)
    sent, mark = 0, 0
    for batch in batches(points, after=0, limit=limit):
        sent, mark = sent + len(batch.values), batch.seq
        assert sum(len(p.metrics) for p in points if p.seq <= mark) <= sent
    assert mark == points[-1].seq
