"""`mimlab list`: what there is, what it needs, and what goes with what."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mimlab.spec.checks import pairing_problem, target_problem
from mimlab.spec.methods_page import rewritten
from mimlab.train.relative_cost import relative_cost, target_cost
from mimlab_objectives.masking.plan import maskings
from mimlab_objectives.objectives.base import objectives
from mimlab_objectives.targets.base import targets

METHODS = Path(__file__).parents[3] / "docs" / "methods.md"


def test_needs_are_said_in_words(call) -> None:
    found = json.loads(call("list", "--json").out)
    del found["recipes"]
    needs = {part["name"]: part["needs"] for kind in found.values() for part in kind}
    assert needs["mae"] == ["target: pixels, vectors, classes", "equal counts"]
    assert "equal counts" not in needs["simmim"]
    assert needs["masksub"][0] == "labels"
    assert needs["block_unrepaired"] == ["a count of its own in each image"]
    assert needs["random"] == [] and needs["pixels"] == ["pixels"]
    assert "labels" in call("list", "objectives").words
    stored = {part["name"]: part["needs"] for part in found["tokenizers"]}
    assert stored["kmeans"] == ["gives codes"] and stored["features"] == ["gives features"]


def test_the_matrix_is_what_validate_says(call) -> None:
    found = json.loads(call("list", "--matrix", "--json").out)
    for name, entry in ((e.name, e) for e in maskings.entries()):
        expected = {o.name: pairing_problem(o.part, entry.part) for o in objectives.entries()}
        assert found["maskings"][name] == expected
    for name, entry in ((e.name, e) for e in targets.entries()):
        expected = {o.name: target_problem(o.part, entry.part) for o in objectives.entries()}
        assert found["targets"][name] == expected


def test_the_matrix_marks_and_explains(call) -> None:
    said = call("list", "--matrix")
    row = next(line for line in said.out.splitlines() if "block_unrepaired" in line)
    marks = row.split()[1:]
    reasons = [
        pairing_problem(o.part, maskings["block_unrepaired"].part) for o in objectives.entries()
    ]
    assert [mark == "●" for mark in marks] == [reason is None for reason in reasons]
    letter = marks[[e.name for e in objectives.entries()].index("mae")]
    assert f"{letter} it hides a different number of patches in each image" in said.words


@pytest.mark.parametrize("options", [["maskings"], ["--cost"]])
def test_the_matrix_stands_alone(call, options: list[str]) -> None:
    said = call("list", "--matrix", *options)
    assert said.code == 2 and said.err.startswith("error: --matrix shows all kinds and no cost")


def test_costs_are_those_of_the_arithmetic() -> None:
    """MAE is the unit; SimMIM's 1.82 is counted by hand, too: blocks · 12 n d² + 2 n² d."""

    def block(n: int, d: int) -> int:
        return 12 * n * d * d + 2 * n * n * d

    patches, patch_dim = 196, 768
    mae = 12 * block(50, 768) + 8 * block(197, 512) + 49 * 768 * 768 + 50 * 768 * 512
    mae += 196 * 512 * patch_dim
    simmim = 12 * block(197, 768) + patches * 768 * (768 + patch_dim)
    assert relative_cost("mae") == 1
    found = relative_cost("simmim")
    assert found is not None and found == pytest.approx(simmim / mae, rel=0.01)
    assert target_cost("pixels") == 1


def test_the_cost_is_shown_where_it_is_asked_for(call) -> None:
    (mae,) = [p for p in json.loads(call("list", "targets", "--cost", "--json").out)["targets"]
              if p["name"] == "pixels"]  # fmt: skip
    assert mae["cost"] == 1
    assert "1.00 ×" in call("list", "targets", "--cost").words
    assert "cost" not in call("list", "targets").words


def test_recipes_say_what_they_combine_and_what_differs_from_the_paper(call) -> None:
    found = {
        one["name"]: one for one in json.loads(call("list", "recipes", "--json").out)["recipes"]
    }
    assert list(found) == sorted(found)
    maskfeat = found["maskfeat"]
    assert maskfeat["combines"] == "simmim × hog × block"
    assert maskfeat["paper"] == "Wei et al., 2022 (arXiv:2112.09133)"
    assert maskfeat["settings"]["masking"]["ratio"] == 0.4
    assert any("clips the gradient's norm at 0.02" in note for note in maskfeat["notes"])
    said = call("list", "recipes").words
    for name, one in found.items():
        assert name in said and one["summary"].split()[0] in said
    assert "what it is combines beside the paper paper" in said.replace("┃ ", "")
    assert "parameters" not in said


def test_the_tables_of_the_methods_page_are_current() -> None:
    page = METHODS.read_text()
    assert rewritten(page) == page, "run `make methods`"


def test_a_page_without_a_place_is_not_rewritten() -> None:
    with pytest.raises(ValueError, match="the page has no lines"):
        rewritten("nothing here")
