"""Pools of actors whose processes die: every item has one result, or there is a clear error."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ray.exceptions import ActorDiedError

from mimlab.data.ray_data import MOST_DEATHS, results_of_all
from mimlab.errors import UserError

Items = list[dict[str, Any]]


class Pool:
    """Works on so many items before it dies, each time that it is started."""

    def __init__(self, lives: list[int]) -> None:
        self._lives = iter(lives)
        self.asked: list[int] = []

    def run(self, items: Items) -> Iterator[dict[str, Any]]:
        self.asked.append(len(items))
        life = next(self._lives, len(items))
        yield from ({**item, "failure": ""} for item in items[:life])
        if life < len(items):
            raise ActorDiedError


@given(st.integers(0, 20), st.lists(st.integers(1, 6), max_size=20))
def test_every_item_has_one_result_whatever_dies(count, lives):
    items = [{"piece": str(number)} for number in range(count)]
    pool = Pool(lives)
    results = list(results_of_all(items, pool.run))
    assert sorted(int(result["piece"]) for result in results) == list(range(count))
    assert pool.asked == sorted(pool.asked, reverse=True)


def test_a_pool_that_always_dies_is_given_up_after_what_it_did():
    items = [{"piece": str(number)} for number in range(5)]
    pool = Pool([2, *[0] * 9])
    results = results_of_all(items, pool.run)
    assert [next(results)["piece"] for _ in range(2)] == ["0", "1"]
    with pytest.raises(UserError, match=f"died {MOST_DEATHS} times before they had done anything"):
        next(results)
    assert pool.asked == [5, 3, 3]
