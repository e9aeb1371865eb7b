"""Parts of another package: named in a study like any other, refused where they are broken."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import mimlab
import mimlab_objectives

EXAMPLE = Path(__file__).parents[1] / "plugin" / "checkerboard"
_ROOTS = [str(Path(package.__path__[0]).parent) for package in (mimlab, mimlab_objectives)]

PARTS = """\
objective: {name: scaled_mae, decoder_width: 16, decoder_depth: 1, decoder_heads: 2, scale: 3.0}
target: {name: negative}
masking: {name: checkerboard}
"""


def with_parts(study: str) -> str:
    """A study whose masking, target and objective are all of the plug-in."""
    own = ("objective:", "target:", "masking:", "sweep:", "  axes:", "    masking.ratio")
    rest = [line for line in study.splitlines(keepends=True) if not line.startswith(own)]
    return "".join(rest) + PARTS + "sweep: {axes: {masking.colour: [black, white]}}\n"


def install(source: Path, target: Path) -> Path:
    """pip, without the network: the build backend is the one that is installed here."""
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    own = ["--no-index", "--no-deps", "--no-build-isolation", "--target", str(target)]
    subprocess.run([*pip, *own, str(source)], check=True, capture_output=True)
    return target


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which the example package is installed."""
    folder = tmp_path_factory.mktemp("plugin")
    return install(shutil.copytree(EXAMPLE, folder / "source"), folder / "site")


Mimlab = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def python(folder: Path) -> Mimlab:
    """Python in a process of its own, which sees the packages of a folder."""

    def run(site: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
        path = os.pathsep.join([*_ROOTS, str(site)])
        own = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=folder,
            env=own | {"PYTHONPATH": path},
            capture_output=True,
            text=True,
            check=False,
        )

    return run


@pytest.fixture
def mimlab_with(python: Mimlab) -> Mimlab:
    """`mimlab ARGUMENTS` in such a process."""

    def run(site: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
        return python(site, "-m", "mimlab.cli.main", *arguments)

    return run


@pytest.mark.slow
def test_its_parts_are_listed_and_in_the_schema(mimlab_with: Mimlab, site: Path) -> None:
    listed = json.loads(mimlab_with(site, "list", "--json").stdout)
    found = {
        part["name"]
        for parts in listed.values()
        for part in parts
        if part["package"] == "checkerboard_parts"
    }
    assert found == {"checkerboard", "negative", "scaled_mae", "checkers"}
    assert "(of checkerboard_parts)" in mimlab_with(site, "list", "targets").stdout
    schema = mimlab_with(site, "schema").stdout
    assert '"checkerboard"' in schema and '"checkers"' in schema
    assert "The loss is multiplied by it." in schema


@pytest.mark.slow
def test_a_study_that_names_them_is_checked_like_any_other(
    mimlab_with: Mimlab, folder: Path, site: Path, tiny: str
) -> None:
    (folder / "own.yaml").write_text(with_parts(tiny))
    sound = mimlab_with(site, "validate", "own.yaml")
    assert sound.returncode == 0 and "2 trials" in sound.stdout, sound.stderr
    odd = mimlab_with(site, "validate", "own.yaml", "--set", "data.image_size=20")
    assert odd.returncode == 2
    assert "masking.name: a checkerboard needs an even number of patches" in odd.stderr
    without = mimlab_with(folder, "validate", "own.yaml")
    assert without.returncode == 2 and "no masking is called 'checkerboard'" in without.stderr


@pytest.mark.slow
def test_its_recipe_is_named_like_any_other(
    mimlab_with: Mimlab, folder: Path, site: Path, tiny: str
) -> None:
    head, _, _ = with_parts(tiny).partition(PARTS)
    (folder / "own.yaml").write_text(f"{head}recipe: checkers\n")
    planned = mimlab_with(site, "plan", "own.yaml", "--no-measure", "--json")
    assert planned.returncode == 0, planned.stderr
    (trial,) = json.loads(planned.stdout)["trials"]
    assert (trial["hidden_patches"], trial["patches"]) == (8, 16)
    without = mimlab_with(folder, "validate", "own.yaml")
    assert without.returncode == 2 and "no recipe is called 'checkers'" in without.stderr


CODE = "from mimlab.search.fingerprint import *; print(fingerprint(code_zip()))"


@pytest.mark.slow
def test_its_code_is_part_of_the_fingerprint(
    python: Mimlab, folder: Path, site: Path, tmp_path: Path
) -> None:
    changed = shutil.copytree(site, tmp_path / "changed")
    with (changed / "checkerboard_parts.py").open("a") as file:
        file.write("# changed\n")
    prints = [python(place, "-c", CODE).stdout for place in (folder, site, site, changed)]
    none, first, second, third = prints
    assert first == second and len({none, first, third}) == 3 and "" not in prints


def broken(folder: Path, code: str) -> Path:
    """A package as an installer leaves it, whose module holds `code`."""
    metadata = folder / "broken_parts-1.0.dist-info"
    metadata.mkdir(parents=True)
    (folder / "broken_module.py").write_text(code)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: broken-parts\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[mimlab.parts]\nmine = broken_module\n")
    return folder


TAKEN = """
from mimlab_objectives.masking.plan import maskings
from mimlab_objectives.registry import Params
@maskings.register("random", params=Params, paper="")
class Mine: ...
"""


UNKNOWN = """
from mimlab_objectives.recipes.base import Recipe, RecipeSettings, recipes
parts = {"target": {"name": "pixels"}, "masking": {"name": "randm"}}
settings = RecipeSettings(objective={"name": "mae"}, **parts)
recipes.add(Recipe(name="mine", module="mine", summary="x", paper="x", settings=settings))
"""


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("import nothing_of_that_name", "ModuleNotFoundError: No module named 'nothing_of_that_"),
        pytest.param(
            "raise RuntimeError('two\\nlines')", "RuntimeError: two lines", marks=pytest.mark.slow
        ),
        pytest.param("def broken(:", "SyntaxError: ", marks=pytest.mark.slow),
        (
            TAKEN,
            "masking 'random' is registered twice: by mimlab_objectives.masking.uniform.Random and "
            "by broken_module.Mine",
        ),
        pytest.param(
            UNKNOWN,
            "ValueError: recipe 'mine': no masking is called 'randm'; there are attentive",
            marks=pytest.mark.slow,
        ),
    ],
    ids=["import", "error", "syntax", "taken name", "recipe of an unknown part"],
)
def test_a_broken_plug_in_is_one_line(
    mimlab_with: Mimlab, folder: Path, code: str, told: str
) -> None:
    said = mimlab_with(broken(folder / "site", code), "run", "tiny.yaml")
    assert (said.returncode, said.stdout) == (2, ""), said
    assert said.stderr.startswith(
        "error: plug-in broken-parts: entry point mine = broken_module cannot be loaded: "
    )
    assert told in said.stderr and said.stderr.count("\n") == 1
    assert not (folder / "runs").exists()


@pytest.mark.slow
def test_a_broken_plug_in_is_named_where_parts_are_listed(
    mimlab_with: Mimlab, folder: Path
) -> None:
    said = mimlab_with(broken(folder / "site", "import nothing_of_that_name"), "list")
    assert (said.returncode, said.stdout) == (2, ""), said
    assert said.stderr.startswith("error: plug-in broken-parts: ")


SHIPPED = """
import ray, sys, pathlib
from mimlab.search.cluster import local_cluster
def look():
    import checkerboard_parts
    from mimlab.spec.catalogue import catalogue
    from mimlab.search.fingerprint import code_zip, fingerprint
    names = [part.name for part in catalogue()["maskings"]]
    return checkerboard_parts.__file__, "checkerboard" in names, fingerprint(code_zip())
if __name__ == "__main__":
    with local_cluster(pathlib.Path("logs")):
        print(*ray.get(ray.remote(look).remote()), *look())
"""


@pytest.mark.slow
def test_it_is_shipped_to_ray_s_processes(python: Mimlab, folder: Path, site: Path) -> None:
    (folder / "shipped.py").write_text(SHIPPED)
    said = python(site, "shipped.py")
    assert said.returncode == 0, said.stderr
    there, known_there, print_there, here, known_here, print_here = said.stdout.split()
    assert here == str(site / "checkerboard_parts.py")
    assert "py_modules_files" in there
    assert known_there == known_here == "True"
    assert print_there == print_here


@pytest.mark.slow
def test_a_study_of_its_parts_runs(
    make_lab: Callable, monkeypatch: pytest.MonkeyPatch, site: Path, tiny: str
) -> None:
    """Two worker processes a trial, probes in others, and a resume that finds nothing to do."""
    monkeypatch.setenv("PYTHONPATH", str(site))
    study = with_parts(tiny).replace("steps: 600", "steps: 60")
    lab = make_lab(study.replace("{cpus_per_worker: 1,", "{workers: 2, cpus_per_worker: 1,"))
    said = lab.call("run", "tiny.yaml")
    assert said.code == 0, said
    assert lab.states == ["finished", "finished"]
    for trial, colour in zip(lab.trials, ("black", "white"), strict=True):
        identity = trial.record().identity
        assert identity["masking.name"] == "checkerboard"
        assert identity["masking.colour"] == colour
        assert identity["revision.objective"] == "1"
        assert {record.probe for record in trial.probes()} == {"knn", "linear"}
    environment = lab.submission.record().environment
    assert environment["package.checkerboard-parts"] == "0.3.0"
    assert lab.call("resume", lab.submission.id).code == 0
