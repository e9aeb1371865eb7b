"""The image's recipe, as far as it can be judged without building it."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCKERFILE = ROOT / "cluster" / "docker" / "Dockerfile"
WORDS = {"ARG", "FROM", "RUN", "ENV", "WORKDIR", "COPY", "USER", "ENTRYPOINT", "CMD"}


def instructions() -> list[tuple[str, str]]:
    """(word, rest) of each instruction, continued lines joined."""
    lines = [line for line in DOCKERFILE.read_text().splitlines() if not line.startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    return [
        (word, rest)
        for line in joined.splitlines()
        if line.strip()
        for word, _, rest in [line.partition(" ")]
    ]


def test_every_line_is_an_instruction() -> None:
    assert {word for word, _ in instructions()} == WORDS


@pytest.mark.parametrize(
    "source",
    sorted(
        source
        for word, rest in instructions()
        if word == "COPY" and "--from=" not in rest
        for source in shlex.split(rest)[:-1]
    ),
)
def test_what_it_copies_is_there(source: str) -> None:
    assert (ROOT / source).exists()


def test_it_installs_the_pinned_packages_of_what_it_serves() -> None:
    [install] = [rest for word, rest in instructions() if word == "RUN" and "pip install" in rest]
    assert "--constraint constraints.txt" in install
    assert '".[s3,server]"' in install


def test_it_runs_as_a_user_that_is_not_root() -> None:
    last_stage = [word for word, _ in instructions()][::-1].index("FROM")
    users = [rest for word, rest in instructions()[-last_stage:] if word == "USER"]
    assert users == ["1000"]
