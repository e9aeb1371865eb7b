"""Names and what they are, in a list."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from nicegui import ui

from mimlab.serve.pages.parts import words
from mimlab.serve.pages.parts.kept import Kept
from mimlab.serve.security.headers import PREFIX


@dataclass(frozen=True)
class Fact:
    """`value`: all that `make` depends on."""

    name: str
    value: object
    make: Callable[[], object]

    @classmethod
    def words(cls, name: str, value: str, *, css: str = "") -> Fact:
        """One that is said in words."""
        return cls(name, value, lambda: ui.label(value).classes(css))

    @classmethod
    def state(cls, state: str) -> Fact:
        """Where something stands."""
        return cls.words("state", state, css=f"state state-{state}")

    @classmethod
    def progress(cls, progress: float, label: str) -> Fact:
        """A bar with its number."""
        return cls("progress", progress, partial(_bar, progress, label))

    @classmethod
    def mlflow(cls, text: str, address: str, problem: str) -> Fact:
        """Leads to MLflow, and says where that is away."""
        return cls("MLflow", (address, problem), partial(_mlflow, text, address, problem))

    @classmethod
    def job(cls, submission: str) -> Fact:
        """Leads to where a submission's driver is shown by Ray."""
        page = f"{PREFIX}/submissions/{submission}/job"
        return cls("Ray", page, lambda: ui.link("its job", page, new_tab=True))


class Facts:
    """Follows what its facts become; those that are as they were stay in place."""

    def __init__(self) -> None:
        self._list = ui.element("dl").classes("facts")
        self._places: dict[str, Kept] = {}

    def show(self, facts: list[Fact]) -> None:
        """As they are now."""
        names = [fact.name for fact in facts]
        if names != list(self._places):
            self._list.clear()
            with self._list:
                self._places = {name: Kept(_box(name)) for name in names}
        for fact in facts:
            self._places[fact.name].show(fact.value, fact.make)


def _box(name: str) -> ui.element:
    with ui.element("div"):
        with ui.element("dt"):
            ui.label(name)
        return ui.element("dd")


def _bar(progress: float, label: str) -> None:
    with ui.element("span").classes("bar") as shown:
        shown.props(
            f'role="progressbar" aria-valuemin="0" aria-valuemax="100" '
            f'aria-valuenow="{int(100 * progress)}" aria-label="{label}"'
        )
        ui.element("div").style(f"width: {100 * progress:.1f}%")
    ui.label(words.percent(progress)).style("display: inline")


def _mlflow(text: str, address: str, problem: str) -> None:
    ui.link(text, address, new_tab=True)
    if problem:
        ui.label(f"{problem}; what it shows is kept, and sent when it is back").classes("warning")
