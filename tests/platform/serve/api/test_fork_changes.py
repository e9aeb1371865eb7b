"""What was edited of a configuration, as changes that the fork is asked for."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mimlab.errors import UserError
from mimlab.serve.fork_changes import changes_of
from mimlab.serve.reading.yaml_text import leaves, yaml_lines

SCALARS = (
    st.none() | st.booleans() | st.integers(-99, 99) | st.sampled_from(["a b", "null", "é: x"])
)
LEAVES = SCALARS | st.lists(st.integers(0, 9) | st.just({"name": "knn"}), max_size=3)
KEYS = st.sampled_from(["masking", "ratio", "name", "train"])
CONFIGS = st.dictionaries(KEYS, st.dictionaries(KEYS, LEAVES, min_size=1), min_size=1)


def text_of(config: dict[str, Any]) -> str:
    return "\n".join(line for _, line in yaml_lines(config)) + "\n"


@given(CONFIGS)
def test_what_is_not_edited_is_not_changed(config: dict[str, Any]) -> None:
    assert changes_of(text_of(config), text_of(config)) == []


@given(CONFIGS, st.integers(100, 200))
def test_a_changed_leaf_is_one_change(config: dict[str, Any], value: int) -> None:
    section = next(iter(config))
    key = next(iter(config[section]))
    edited = json.loads(json.dumps(config))
    edited[section][key] = value
    assert changes_of(text_of(config), text_of(edited)) == [f"{section}.{key}={value}"]
    assert dict(leaves(edited))[f"{section}.{key}"] == str(value)


@pytest.mark.parametrize("after", ["a: 1\n", "[1, 2]\n", "a: [1\n", "x: !!python/name:os\n"])
def test_what_is_no_edit_of_it_is_refused(after: str) -> None:
    with pytest.raises(UserError):
        changes_of("a: 1\nb: 2\n", after)
