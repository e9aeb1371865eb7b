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


BLOCK = """masking:
  name: "block"
  ratio: 0.75
  min_area: 4
  aspect: 0.3
train:
  batch_size: 100
"""


def test_a_part_of_another_name_has_its_own_keys() -> None:
    random = BLOCK.replace('"block"', "random").replace("  min_area: 4\n", "")
    random = random.replace("  aspect: 0.3\n", "")
    assert changes_of(BLOCK, random) == ['masking.name="random"']
    edited = f"train: {{batch_size: 50}}\n{random.replace('0.75', '0.5')}".partition("train:\n")[0]
    changes = ['masking.name="random"', "train.batch_size=50", "masking.ratio=0.5"]
    assert changes_of(BLOCK, edited) == changes
    assert changes_of(random, BLOCK)[0] == 'masking.name="block"'


def test_a_key_that_both_parts_have_stays() -> None:
    without = BLOCK.replace('"block"', "random").replace("  ratio: 0.75\n", "")
    with pytest.raises(UserError, match=r"masking\.ratio: cannot be taken out"):
        changes_of(BLOCK, without)
