"""Registration by decorator and discovery by import."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from mimlab_objectives import discover
from mimlab_objectives.masking.plan import maskings
from mimlab_objectives.registry import Params, ParamsError, Registry, import_all


class ShapeParams(Params):
    sides: int = 3
    """How many."""


class Triangle:
    """Three sides.

    And more text.
    """


class Square:
    pass


@pytest.fixture
def shapes() -> Registry[object]:
    registry: Registry[object] = Registry("shape")
    registry.register("triangle", params=ShapeParams, paper="Euclid")(Triangle)
    return registry


def test_an_entry_says_what_it_knows(shapes: Registry[object]) -> None:
    entry = shapes["triangle"]
    assert (entry.part, entry.params, entry.paper, entry.revision) == (
        Triangle,
        ShapeParams,
        "Euclid",
        1,
    )
    assert entry.summary == "Three sides."
    assert "triangle" in shapes
    assert "square" not in shapes


def test_a_name_registered_twice_names_both(shapes: Registry[object]) -> None:
    with pytest.raises(ValueError, match=r"'triangle' is registered twice: .*Triangle .*Square"):
        shapes.register("triangle", params=ShapeParams, paper="")(Square)
    assert shapes["triangle"].part is Triangle


def test_an_unknown_name_lists_the_known(shapes: Registry[object]) -> None:
    shapes.register("square", params=ShapeParams, paper="")(Square)
    with pytest.raises(KeyError, match="no shape is called 'circle'; there are square, triangle"):
        shapes["circle"]


def test_names_and_entries_are_sorted(shapes: Registry[object]) -> None:
    shapes.register("square", params=ShapeParams, paper="")(Square)
    assert list(shapes) == ["square", "triangle"]
    assert [entry.name for entry in shapes.entries()] == ["square", "triangle"]


def test_params_refuse_unknown_keys_and_changes() -> None:
    with pytest.raises(ValidationError, match="side"):
        ShapeParams.model_validate({"side": 4})
    with pytest.raises(ValidationError, match="frozen"):
        ShapeParams().sides = 4
    assert ShapeParams.model_fields["sides"].description == "How many."


def test_params_error_points_at_its_field() -> None:
    error = ParamsError("sides", "two sides enclose nothing: take 3")
    assert error.field == "sides"
    assert str(error) == "two sides enclose nothing: take 3"


@pytest.mark.parametrize("module", ["hexagon.py", "inner/__init__.py", "inner/hexagon.py"])
def test_a_broken_module_raises(
    module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An ImportError too, which `pkgutil.walk_packages` alone would swallow in a package."""
    package = f"broken_{module.partition('.')[0].replace('/', '_')}"
    (tmp_path / package / "inner").mkdir(parents=True)
    (tmp_path / package / "__init__.py").touch()
    (tmp_path / package / "inner" / "__init__.py").touch()
    (tmp_path / package / module).write_text("raise ImportError('six sides are too many')\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ImportError, match="six sides"):
        import_all(package)


def test_every_module_is_imported_in_sorted_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Inner packages come first: walking into them imports them."""
    (tmp_path / "sorted_shapes" / "m").mkdir(parents=True)
    for path in ("z.py", "m/c.py", "m/b.py", "m/__init__.py", "a.py", "__init__.py"):
        (tmp_path / "sorted_shapes" / path).write_text("print(__name__)\n")
    monkeypatch.syspath_prepend(tmp_path)
    import_all("sorted_shapes")
    names = ["", ".m", ".a", ".m.b", ".m.c", ".z"]
    assert capsys.readouterr().out.split() == [f"sorted_shapes{name}" for name in names]


def test_discovery_can_be_repeated() -> None:
    discover()
    before = list(maskings)
    discover()
    assert list(maskings) == before != []
