"""YAML is data: what is no study is refused before it costs anything."""

from __future__ import annotations

import time

import pytest

from mimlab.errors import UserError
from mimlab.serve.security.pasted import check_pasted

LIMIT_S = 20.0
"""Far above what any of them takes, far below what one that worked would."""

BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "\n".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 10)}]"
    for before, name in zip("abcdefghijk", "bcdefghijkl", strict=True)
)

HOSTILE = {
    "alias bomb": (BOMB, "aliases"),
    "python object": ("study: !!python/object/apply:os.system ['id']", "tag"),
    "own tag": ("study: !run x", "tag"),
    "tag of YAML": ("study: !!binary aGk=", "tag"),
    "deep nesting": ("study: " + "[" * 100_000, "levels deep"),
    "deep mappings": ("\n".join(" " * n + "a:" for n in range(1000)), "levels deep"),
    "ten megabytes": ("study: " + "x" * 10_000_000, "bytes"),
    "many values": ("study: [" + "1," * 400_000 + "]", "values"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_text_is_refused_soon_and_says_why(name: str) -> None:
    text, word = HOSTILE[name]
    begun = time.monotonic()
    with pytest.raises(UserError, match=word):
        check_pasted(text)
    assert time.monotonic() - begun < LIMIT_S


def test_the_line_of_a_tag_is_named() -> None:
    with pytest.raises(UserError, match=r"^study\.yaml:3: the tag !x"):
        check_pasted("study: a\nquestion: b\ndata: !x c\n")


def test_an_override_is_looked_over_as_the_text_is() -> None:
    with pytest.raises(UserError, match=r"--set data\.images=!!python"):
        check_pasted("study: a", ["data.images=!!python/name:os.system x"])
    with pytest.raises(UserError, match="more than 100"):
        check_pasted("study: a", ["train.batch_size=1"] * 101)
    with pytest.raises(UserError, match="too long"):
        check_pasted("study: a", ["study=" + "x" * 20_000])


def test_a_study_passes(study: str) -> None:
    check_pasted(study, ["train.batch_size=1"])


def test_what_is_no_yaml_is_left_to_the_loader() -> None:
    check_pasted("study: [")
