"""The documented keys are the ones that exist."""

import ast
import re
from pathlib import Path

import mimlab
from mimlab.track.metric_keys import METRIC_KEYS, is_known

PACKAGE = Path(mimlab.__file__).parent


def test_the_page_lists_every_key_with_its_meaning_and_no_other() -> None:
    page = (PACKAGE.parents[1] / "docs" / "metrics.md").read_text()
    section = page.split("## Metrics")[1].split("\n## ")[0]
    rows = dict(re.findall(r"^\| `([^`]+)` \| (.+) \|$", section, re.MULTILINE))
    assert rows == METRIC_KEYS


def test_everything_that_training_names_like_a_metric_is_documented() -> None:
    named = set()
    for file in (PACKAGE / "train").glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                named |= set(re.findall(r"^(?:train|mask|data)/[a-z_]+$", node.value))
    assert "train/loss" in named
    assert {key for key in named if not is_known(key)} == set()


def test_families_have_one_name_in_each_place() -> None:
    assert is_known("probe/knn/top1")
    assert is_known("probe/knn/effective_rank")
    assert is_known("baseline/random-init/knn/top1")
    assert not is_known("train/losses")
    assert not is_known("probe/knn")
    assert not is_known("probe//top1")
