"""Reading YAML: every value has its line, and no file brings the reader down."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mimlab.errors import UserError
from mimlab.spec.positions import MAX_BYTES, dotted, keys_of, parse, read_study_file


def message_of(text: str) -> str:
    with pytest.raises(UserError) as caught:
        parse(text, "s.yaml")
    return str(caught.value)


def test_every_path_has_its_line() -> None:
    root, source = parse("a: 1\nb:\n  c: [2,\n    3]\n  d:\n  - e: 4\n", "s.yaml")
    assert root == {"a": 1, "b": {"c": [2, 3], "d": [{"e": 4}]}}
    lines = {dotted(keys): place for keys, place in source.places.items()}
    assert lines["b.c"] == "s.yaml:3"
    assert lines["b.c.1"] == "s.yaml:4"
    assert lines["b.d.0.e"] == "s.yaml:6"


def test_a_place_that_is_not_there_has_the_line_of_what_is_around_it() -> None:
    _, source = parse("a:\n  b: 1\n", "s.yaml")
    assert source.where(("a", "c", "d")) == "s.yaml:1"
    assert source.where(("a", "b", "d")) == "s.yaml:2"


def test_numbers_are_those_of_yaml_1_2() -> None:
    root, _ = parse("[1.5e-4, 1e3, 1_000, yes, true, null, '1']", "s.yaml")
    assert root == [1.5e-4, 1000.0, 1000, "yes", True, None, "1"]


def test_an_anchor_has_the_line_where_it_is_written() -> None:
    root, source = parse("a: &x\n  b: 1\nc: *x\n", "s.yaml")
    assert root["c"] == {"b": 1}
    assert source.where(("c", "b")) == "s.yaml:2"


def test_a_merged_mapping_gives_way_to_keys_beside_it() -> None:
    root, source = parse("a: &x {b: 1, c: 2}\nd:\n  <<: *x\n  c: 3\n", "s.yaml")
    assert root["d"] == {"b": 1, "c": 3}
    assert source.where(("d", "b")) == "s.yaml:1"
    assert source.where(("d", "c")) == "s.yaml:4"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3\n", "s.yaml:3: a: is written twice; keep one of them"),
        ("a:\n\tb: 1\n", "s.yaml:2: starts with a tab; YAML is indented with spaces"),
        ("a: [1, 2\nb: 3\n", "s.yaml:2: is not YAML: expected ',' or ']', but got ':'"),
        ("a: *nobody\n", "s.yaml:1: is not YAML: found undefined alias 'nobody'"),
        ("a: 1\n---\nb: 2\n", "s.yaml:2: is not YAML: but found another document"),
        ("a: 2020-01-01\n", "s.yaml:1: a: a timestamp is not allowed; put it in quotes"),
        ("a: !!python/none x\n", "s.yaml:1: a: a python/none is not allowed"),
        ("a: .nan\n", "s.yaml:1: a: .nan is not a finite number"),
        ("a: 1e999\n", "s.yaml:1: a: 1e999 is not a finite number"),
        ("1: a\n", "s.yaml:1: a key must be text; put it in quotes"),
        ("a: &x 1\nb:\n  <<: *x\n", "s.yaml:1: `<<` merges mappings only"),
        ("a: \x01\n", "s.yaml: is not YAML: unacceptable character"),
        ("a: &x [*x]\n", "s.yaml:1: is nested more than 40 levels deep"),
        ("[" * 5_000, "s.yaml: is nested more than 40 levels deep"),
        ("a: " + "9" * 5000, "s.yaml:1: a: is not a number"),
    ],
)
def test_what_is_not_a_study_is_refused_with_its_line(text: str, message: str) -> None:
    assert message_of(text).startswith(message)


def test_an_alias_bomb_is_refused_before_it_grows() -> None:
    lines = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    assert "holds more than 20000 values, aliases written out" in message_of("\n".join(lines))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "s.yaml:1: a study is a mapping with `study:`, `data:`, …; the file holds nothing"),
        (b"- a\n", "the file holds a list"),
        (b"a: 1\nb: \xff\n", "s.yaml:2: is not UTF-8 text"),
        (b"#" * (MAX_BYTES + 1), f"has {MAX_BYTES + 1} bytes; a study has at most {MAX_BYTES}"),
    ],
)
def test_a_file_that_holds_no_study(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "s.yaml").write_bytes(content)
    with pytest.raises(UserError) as caught:
        read_study_file(tmp_path / "s.yaml")
    assert message in str(caught.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.yaml: cannot be read: No such file or directory"):
        read_study_file(tmp_path / "none.yaml")


KEYS = st.text("abcxyz", min_size=1, max_size=4)
SCALARS = st.none() | st.booleans() | st.integers() | st.text("ab :#'\n", max_size=5)
DOCUMENTS = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3)
)


@given(st.dictionaries(KEYS, DOCUMENTS, min_size=1, max_size=4))
def test_what_is_written_is_read_and_every_value_has_a_place(content: dict) -> None:
    root, source = parse(json.dumps(content, indent=1), "s.yaml")  # JSON is YAML
    assert root == content
    assert len(source.places) == count(content)


def count(value: object) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + sum(count(one) for one in inner)


@given(st.lists(KEYS | st.integers(0, 20), min_size=1))
def test_a_dotted_path_is_read_back(keys: list[str | int]) -> None:
    assert keys_of(dotted(tuple(keys))) == tuple(keys)


@given(st.text(max_size=200) | st.text("{}[]&*:-#\n \t'\"!|>?%@,a1", max_size=60))
def test_any_text_gives_a_value_or_a_message(text: str) -> None:
    try:
        parse(text, "s.yaml")
    except UserError as error:
        assert str(error).startswith("s.yaml")
