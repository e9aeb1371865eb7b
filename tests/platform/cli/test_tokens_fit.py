"""`mimlab tokens fit`: from images to a saved tokenizer, also where it was killed in between."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import typer

import mimlab
import mimlab_objectives
from mimlab.cli import main
from mimlab.tokens.names import ENCODER, WEIGHTS
from mimlab.tokens.saved import read_saved

PLUGIN = Path(__file__).parents[1] / "plugin" / "patch_kmeans" / "patch_kmeans_parts.py"
_ROOTS = [str(Path(package.__path__[0]).parent) for package in (mimlab, mimlab_objectives)]

COMMAND = """
import typer
from mimlab.cli import main
from mimlab.cli.tokens_fit import fit
tokens = typer.Typer()
tokens.callback()(lambda: None)
tokens.command("fit")(fit)
main.app.add_typer(tokens, name="tokens")
main.main()
"""
"""Whether or not the command has been joined to the others."""

GIVE_UP_S = 250.0
DIGITS = 1438
"""Images of the built-in's split `train`."""


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A folder where the plug-in lies as an installer leaves it."""
    folder = tmp_path / "site"
    metadata = folder / "patch_kmeans_parts-0.3.0.dist-info"
    metadata.mkdir(parents=True)
    shutil.copy(PLUGIN, folder)
    name = "Metadata-Version: 2.1\nName: patch-kmeans-parts\nVersion: 0.3.0\n"
    (metadata / "METADATA").write_text(name)
    (metadata / "entry_points.txt").write_text("[mimlab.parts]\nmine = patch_kmeans_parts\n")
    record = "entry_points.txt,,\n".join(["", ""])
    (metadata / "RECORD").write_text(f"{metadata.name}/{record}patch_kmeans_parts.py,,\n")
    return folder


def start(site: Path, *arguments: str) -> subprocess.Popen[str]:
    """`mimlab tokens fit ARGUMENTS` in the folder that holds `site`."""
    own = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    return subprocess.Popen(
        [sys.executable, "-c", COMMAND, "tokens", "fit", *arguments],
        cwd=site.parent,
        env=own | {"PYTHONPATH": os.pathsep.join([*_ROOTS, str(site)])},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def said(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=GIVE_UP_S)
    return process.returncode, out, err


def digits(to: str, encoder: str, *more: str) -> list[str]:
    where = ["--name", "mine", "--images", "digits", "--to", to]
    return [*where, "--grid", "6", "--encoder", encoder, *more]


@pytest.fixture
def call(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Callable[..., tuple[int, str, str]]:
    """`mimlab tokens fit ARGUMENTS` in this process, in a folder of its own."""
    if PLUGIN.stem not in sys.modules:
        spec = importlib.util.spec_from_file_location(PLUGIN.stem, PLUGIN)
        assert spec is not None and spec.loader is not None
        sys.modules[PLUGIN.stem] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[PLUGIN.stem])
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["mimlab", "tokens", "fit", *arguments])
        monkeypatch.setattr(main, "app", typer.Typer(pretty_exceptions_enable=False))
        with pytest.raises(SystemExit) as ended:
            exec(COMMAND, {})
        code = ended.value.code
        assert code is None or isinstance(code, int)
        said = capsys.readouterr()
        return code or 0, said.out, said.err.lstrip("\n")  # the bar leaves an empty line

    return run


def test_it_learns_and_says_what_it_learned(call, tmp_path: Path) -> None:
    asked = digits("mine", "{name: patch_kmeans, vocabulary: 16}", "--workers", "0")
    code, out, err = call(*asked)
    assert (code, err) == (0, ""), err
    first, learned, used, weights = out.splitlines()
    assert first == "mine: mine, patch-kmeans-16, for 6 × 6 patches"
    assert learned == f"learned from 512 patches of {DIGITS:,} images of train; seed 0"
    assert used.startswith("1,044 patches use ")  # 64 for each code, in whole images
    assert weights == f"weights {read_saved(tmp_path / 'mine').weights_sha256}"
    assert sorted(p.name for p in (tmp_path / "mine").iterdir()) == [ENCODER, WEIGHTS]
    code, out, err = call(*asked)
    assert (code, out) == (2, "") and err.startswith("error: ") and "exists already" in err


def test_what_learns_nothing_is_said_to(call) -> None:
    code, out, err = call(*digits("colour", "mean_colour", "--workers", "0"))
    assert (code, err) == (0, ""), err
    assert "it learns nothing, so it was only saved" in out.splitlines()


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--image-size", "24"], "--grid says it all; leave --image-size and --patch-size out"),
        (["--name", "my clip"], "--name my clip: expected letters, digits, dots, - and _"),
        (["--split", "val"], "no split named 'val'; it has train, test"),
        (["--encoder", "nothing"], "--encoder: no tokenizer is called 'nothing'"),
        (["--limit", "0"], "invalid value for '--limit'"),
    ],
    ids=["grid twice", "name", "split", "encoder", "limit"],
)
def test_what_is_wrong_is_one_line(call, tmp_path: Path, more: list[str], told: str) -> None:
    code, out, err = call(*digits("mine", "patch_kmeans", *more))
    assert (code, out) == (2, "") and told in err and err.count("\n") == 1, err
    assert not list(tmp_path.glob("mine*"))


def pieces_in(folder: Path) -> int:
    return len(list(folder.glob("killed.fitting-*/points-*.safetensors")))


@pytest.mark.slow
@pytest.mark.parametrize(
    "workers, pause_s",
    # An actor outlives its driver by seconds, in which it must not get to the end.
    [("0", 0.1), ("1", 0.6)],
    ids=["without Ray", "by an actor"],
)
def test_killed_in_the_middle_it_goes_on_to_the_same_codebook(
    site: Path, workers: str, pause_s: float
) -> None:
    slow = f"{{name: patch_kmeans, vocabulary: 16, pause_s: {pause_s}}}"
    process = start(site, *digits("killed", slow, "--workers", workers))
    give_up = time.monotonic() + GIVE_UP_S
    while not pieces_in(site.parent) and process.poll() is None and time.monotonic() < give_up:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()  # closes its pipes
    assert process.returncode == -signal.SIGKILL
    assert not (site.parent / "killed").exists() and pieces_in(site.parent)
    results = {}
    for name in ("killed", "undisturbed"):
        code, out, err = said(start(site, *digits(name, slow, "--workers", workers, "--json")))
        assert code == 0 and "core_worker" not in err, err
        results[name] = json.loads(out)
    again, plain = results["killed"], results["undisturbed"]
    assert (again["saved"], again["usage"]) == (plain["saved"], plain["usage"])
    assert 0 < again["before"] < DIGITS == again["images"] and plain["before"] == 0
    weights = [(site.parent / name / WEIGHTS).read_bytes() for name in results]
    assert weights[0] == weights[1]
    assert {p.name for p in site.parent.iterdir()} == {"site", *results}
