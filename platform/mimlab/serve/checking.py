"""A pasted study: looked over, loaded, kept within the roots, expanded."""

from __future__ import annotations

import contextlib
import json
import re
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from mimlab.errors import UserError
from mimlab.serve.security.pasted import FILE, check_pasted
from mimlab.serve.security.roots import Roots
from mimlab.spec.checks import legal_trials
from mimlab.spec.load import LoadedStudy, load_study
from mimlab.spec.positions import MAX_BYTES
from mimlab.spec.space import num_trials
from mimlab.storage.store import Store

_LINE = re.compile(r"(?P<place>[^\n]*?\.yaml):(?P<line>\d+): (?P<message>.*)", re.DOTALL)
_AT = re.compile(r"(?P<field>[A-Za-z_][\w.-]*): (?P<message>.*)", re.DOTALL)

_FORK = "study: fork\n"
"""What makes a study of a trial's configuration."""

_EXAMPLE = """study: ratios
question: Which ratio is best?
recipe: mae
data: {images: digits, image_size: 16}
backbone: {name: vit_tiny_patch16_224, patch_size: 4, embed_dim: 32, depth: 2, num_heads: 2}
train: {budget: {epochs: 5}, batch_size: 128}
sweep: {axes: {masking.ratio: [0.5, 0.75]}}
"""


class PastedStudy(BaseModel):
    """A study file, and how it is changed."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    text: str = Field(max_length=MAX_BYTES, examples=[_EXAMPLE])
    """The study's YAML. Paths in it begin at `/`, and lie in the dashboard's roots."""
    preset: str | None = Field(default=None, max_length=100, examples=[None])
    """A named overlay of the study."""
    overrides: list[str] = Field(default=[], examples=[["train.budget.epochs=1"]])
    """Changes of single keys, `path=value`."""


class StudyProblem(BaseModel):
    """One thing that is wrong with a study."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    line: int | None
    """In the text, from 1; None where it is about an override or the whole."""
    field: str | None
    """Dotted path."""
    message: str


@dataclass(frozen=True)
class Checker:
    """Checks pasted studies against a storage and its roots."""

    store: Store
    roots: Roots

    def problems(self, pasted: PastedStudy) -> tuple[str, int] | list[StudyProblem]:
        """The name of a sound study and its number of trials, or all that is wrong with it."""
        try:
            loaded = self.loaded(pasted)
            return loaded.study.study, num_trials(loaded.study, legal_trials(loaded))
        except UserError as error:
            return [_problem(line) for line in str(error).splitlines()]

    def loaded(self, pasted: PastedStudy) -> LoadedStudy:
        """A study that is sound and names nothing outside the roots. Raises UserError."""
        with self.written(pasted) as file:
            return load_study(file, pasted.preset, self.overrides(pasted))

    @contextlib.contextmanager
    def written(self, pasted: PastedStudy) -> Iterator[Path]:
        """A checked study as a file, for as long as the context lasts.

        Raises UserError that speaks of `study.yaml`, inside the context as well.
        """
        with self._file(pasted) as file:
            self._check(load_study(file, pasted.preset, pasted.overrides))
            yield file

    def problems_of_fork(self, text: str, changes: Sequence[str]) -> list[StudyProblem]:
        """All that is wrong with a trial's configuration, of which the changes alone are new: what
        the trial ran with may lie anywhere."""
        try:
            self.check_changes(changes)
            with self._file(PastedStudy(text=f"{_FORK}{text}")) as file:
                legal_trials(load_study(file, None, self.overrides(PastedStudy(text=""))))
        except UserError as error:
            above = _FORK.count("\n")
            found = map(_problem, str(error).splitlines())
            return [p.model_copy(update={"line": p.line and p.line - above}) for p in found]
        return []

    @contextlib.contextmanager
    def _file(self, pasted: PastedStudy) -> Iterator[Path]:
        check_pasted(pasted.text, pasted.overrides)
        with tempfile.TemporaryDirectory(prefix="mimlab-study-") as folder:
            file = Path(folder, FILE)
            file.write_bytes(pasted.text.encode(errors="replace"))
            try:
                yield file
            except UserError as error:
                raise UserError(str(error).replace(str(file), FILE)) from error

    def overrides(self, pasted: PastedStudy) -> list[str]:
        """Those of a pasted study, and its results go where the dashboard looks."""
        return [*pasted.overrides, f"storage={json.dumps(str(self.store.root))}"]

    def check_changes(self, changes: Sequence[str]) -> None:
        """Raises UserError for changes of a trial that name something outside the roots."""
        check_pasted("", changes)
        self.roots.check_changes(changes)

    def _check(self, loaded: LoadedStudy) -> None:
        self.roots.check(loaded)
        if loaded.own.get("storage") is not None and loaded.study.storage != str(self.store.root):
            raise UserError(
                f"{loaded.where(('storage',))}: storage: results go to {self.store.root}, where "
                "this dashboard looks; leave `storage` out"
            )


def _problem(line: str) -> StudyProblem:
    found = _LINE.fullmatch(line)
    message = found["message"] if found else line
    at = _AT.fullmatch(message)
    return StudyProblem(
        line=int(found["line"]) if found else None,
        field=at["field"] if at else None,
        message=at["message"] if at else message,
    )


def command_options(pasted: PastedStudy, overrides: Sequence[str]) -> list[str]:
    """What a command line says to mean the same study."""
    preset = [] if pasted.preset is None else [f"--preset={pasted.preset}"]
    return [*preset, *(f"--set={override}" for override in overrides)]
