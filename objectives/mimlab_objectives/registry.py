"""Named parts: a masking, a target or an objective is one file that registers itself."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from pydantic import BaseModel, ConfigDict

PartT = TypeVar("PartT")
ClassT = TypeVar("ClassT", bound=type)


class Params(BaseModel):
    """Parameters of a registered part: frozen, unknown keys refused, field docstrings as help."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    def shown_as(self, name: str) -> str:
        """What comparisons call the part that is registered as `name`; more than its name where it
        could be taken for something else."""
        return name

    def resolved(self, absolute: Callable[[str], str]) -> Params:
        """With nothing left to decide, as a study is when it is submitted: `absolute` gives paths
        that hold anywhere, and what files contain is known by its hash."""
        return self._nested(lambda params: params.resolved(absolute))

    def identified(self) -> Params:
        """What of it makes another trial: not where a file lies whose content is known."""
        return self._nested(lambda params: params.identified())

    def _nested(self, change: Callable[[Params], Params]) -> Params:
        parts = {name: change(value) for name, value in self if isinstance(value, Params)}
        return self.model_copy(update=parts) if parts else self


class ParamsError(ValueError):
    """A parameter that cannot hold in its setting, e.g. a ratio that a grid cannot give.

    `field` is the parameter's name, dotted where it is one of nested parameters, so that a caller
    can point at the line of a study.
    """

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


@dataclass(frozen=True)
class Entry(Generic[PartT]):
    """What a registry knows about a part.

    `revision` counts changes of the numbers that the part produces: it enters trial identity.
    """

    name: str
    part: type[PartT]
    params: type[Params]
    revision: int
    paper: str

    @property
    def summary(self) -> str:
        """The first line of the part's docstring."""
        return (self.part.__doc__ or "").strip().split("\n")[0]


class Registry(Generic[PartT]):
    """Names → parts of one kind (`masking`, `target`, `objective`)."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._entries: dict[str, Entry[PartT]] = {}

    def register(
        self, name: str, *, params: type[Params], paper: str, revision: int = 1
    ) -> Callable[[ClassT], ClassT]:
        """Class decorator. Raises ValueError, naming both classes, if `name` is taken."""

        def add(part: ClassT) -> ClassT:
            if name in self._entries:
                taken = self._entries[name].part
                raise ValueError(
                    f"{self.kind} {name!r} is registered twice: by {taken.__module__}."
                    f"{taken.__qualname__} and by {part.__module__}.{part.__qualname__}"
                )
            self._entries[name] = Entry(name, part, params, revision, paper)
            return part

        return add

    def __getitem__(self, name: str) -> Entry[PartT]:
        if name not in self._entries:
            raise KeyError(f"no {self.kind} is called {name!r}; there are {', '.join(self)}")
        return self._entries[name]

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._entries))

    def name_of(self, part: PartT) -> str:
        """What its class is registered as. Raises ValueError for one that is not."""
        for entry in self.entries():
            if entry.part is type(part):
                return entry.name
        raise ValueError(f"{type(part).__name__} is not a registered {self.kind}")

    def entries(self) -> list[Entry[PartT]]:
        """All parts, by name."""
        return [self._entries[name] for name in self]


def import_all(package: str) -> None:
    """Import every module below `package`, in sorted order; a broken module raises."""
    root = importlib.import_module(package)
    names = [module.name for module in pkgutil.walk_packages(root.__path__, package + ".")]
    for name in sorted(names):
        importlib.import_module(name)
