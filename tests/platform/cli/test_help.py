"""What `mimlab` says of itself."""

from __future__ import annotations

import subprocess
import sys

import pytest

COMMANDS = [
    "validate",
    "plan",
    "schema",
    "run",
    "resume",
    "supervise",
    "submit",
    "status",
    "logs",
    "stop",
    "pause",
    "fork",
    "extend",
    "replay",
    "probe",
    "compare",
    "sync",
    "export",
    "gc",
    "list",
    "masks",
    "board",
]
DATA_COMMANDS = ["data import", "data maps", "data inspect"]
TOKENS_COMMANDS = ["tokens encode", "tokens inspect", "tokens show", "tokens verify"]


@pytest.mark.parametrize("command", [*COMMANDS, *DATA_COMMANDS, *TOKENS_COMMANDS])
def test_every_command_shows_an_example(call, command: str) -> None:
    said = call(*command.split(), "--help")
    assert said.code == 0
    assert f"Example: mimlab {command} " in said.words


def test_the_first_page_names_every_command(call) -> None:
    said = call("--help")
    assert said.code == 0
    for command in [*COMMANDS, "data", "tokens"]:
        assert f" {command} " in said.words


@pytest.mark.parametrize("arguments", [[], ["data"], ["tokens"]])
def test_no_arguments_print_the_help(call, arguments: list[str]) -> None:
    said = call(*arguments)
    assert "Usage: mimlab" in said.words and "Commands" in said.words
    assert said.err == ""


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["train"], "mimlab: no such command 'train'"),
        (["run"], "mimlab run: missing argument 'STUDY'"),
        (["run", "tiny.yaml", "--fast"], "mimlab run: no such option: --fast"),
        (["run", "tiny.yaml", "--set"], "mimlab: option '--set' requires an argument"),
        (["list", "colours"], "'colours' is not one of"),
        (["masks", "--draws", "many"], "mimlab masks: invalid value for '--draws': "),
        (["data", "import", "x"], "mimlab data import: missing option '--to'"),
        (
            ["data", "maps", "masks", "--for", "data", "--to", "maps"],
            "mimlab data maps: missing option '--kind'. Choose from: map, labels;",
        ),
    ],
)
def test_a_wrong_command_line_is_one_line(call, arguments: list[str], told: str) -> None:
    said = call(*arguments)
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith("error: mimlab") and said.err.count("\n") == 1
    assert told in said.err
    command = said.err.removeprefix("error: ").partition(":")[0]
    assert said.err.endswith(f"; `{command} --help` says what it takes\n")


def test_the_module_runs_as_a_program(tmp_path) -> None:
    """As a process of its own; help comes without waiting for torch or Ray."""
    program = "import sys, mimlab.cli.main; print('torch' in sys.modules or 'ray' in sys.modules)"
    heavy = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert heavy.stdout.strip() == "False", heavy.stderr
    command = [sys.executable, "-m", "mimlab.cli.main"]
    bare = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert "Usage:" in bare.stdout + bare.stderr and "Traceback" not in bare.stderr
    missing = [*command, "compare", "nothing"]
    refused = subprocess.run(missing, capture_output=True, text=True, cwd=tmp_path)
    assert refused.returncode == 2
    assert refused.stderr.startswith(f"error: {tmp_path}/runs: there is no submission 'nothing'")
