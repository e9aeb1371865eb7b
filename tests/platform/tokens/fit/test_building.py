"""What `--encoder` may say, and the one line that it gets where it is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from mimlab.errors import UserError
from mimlab.tokens.building import asked_encoder

pytestmark = pytest.mark.usefixtures("parts")


def test_a_mapping_a_name_and_a_file_say_the_same(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("name: patch_kmeans\nvocabulary: 8\n")
    for text in ("{name: patch_kmeans, vocabulary: 8}", "patch_kmeans", str(file)):
        encoder = asked_encoder(text, (6, 6))
        assert (encoder.label, encoder.size, encoder.grid) == ("patch-kmeans-8", 24, (6, 6))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{name: patch_kmean}", "--encoder: no tokenizer is called 'patch_kmean'; did you mean"),
        ("{vocabulary: 8}", "--encoder: expected a tokenizer by its name, such as '{name: kmeans"),
        ("[patch_kmeans]", "--encoder: expected a tokenizer by its name"),
        ("", "--encoder: expected a tokenizer by its name"),
        (
            "{name: patch_kmeans, vocabulary: many}",
            "--encoder: vocabulary: should be a whole number",
        ),
        ("{name: patch_kmeans, vocabulary: 1}", "--encoder: vocabulary: should be greater than or"),
        ("{name: patch_kmeans, vocabulry: 8}", "--encoder: vocabulry: unknown key; did you mean"),
        ("{name: patch_kmeans", "--encoder:1: is not YAML"),
        ("nowhere.yaml", "--encoder nowhere.yaml: cannot be read"),
    ],
)
def test_what_is_wrong_is_named(text: str, told: str) -> None:
    with pytest.raises(UserError) as refused:
        asked_encoder(text, (6, 6))
    assert str(refused.value).startswith(told) and "\n" not in str(refused.value)


def test_a_file_is_named_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("name: patch_kmeans\nvocabulary: 1\n")
    with pytest.raises(UserError, match=rf"^{file}:2: vocabulary: should be greater"):
        asked_encoder(str(file), (6, 6))


def test_what_cannot_hold_on_the_grid_is_refused() -> None:
    with pytest.raises(UserError, match=r"^--encoder: vocabulary: these codes are of square grids"):
        asked_encoder("patch_kmeans", (6, 3))
