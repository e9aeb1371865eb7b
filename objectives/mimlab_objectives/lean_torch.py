"""PyTorch without its compiler, which nothing here uses and every process would wait for.

Optimizers, and what runs in Python on the device `meta`, consist of functions that are marked as
not to be compiled. The first call of each (torch/_compile.py) imports the whole compiler for that
mark, in seconds. Where nobody has asked for it, a stand-in takes the marks meanwhile, and makes way
for it as soon as anything else is asked of it.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import torch

_COMPILER = "torch._dynamo"


@contextlib.contextmanager
def without_compiler() -> Iterator[None]:
    """Nothing inside imports the compiler but what compiles."""
    if _COMPILER in sys.modules:
        yield
        return
    stand_in = _StandIn()
    stand_in.install()
    try:
        yield
    finally:
        stand_in.remove()


class _StandIn(ModuleType):
    """Answers for the compiler as long as only marks are asked for."""

    def __init__(self) -> None:
        super().__init__(_COMPILER)
        self._marked: list[Any] = []

    def install(self) -> None:
        sys.modules[_COMPILER] = torch._dynamo = self

    def remove(self) -> None:
        """Leave no trace: the real one marks them when they are called again."""
        if sys.modules.get(_COMPILER) is self:
            del sys.modules[_COMPILER]
        if vars(torch).get("_dynamo") is self:
            del torch._dynamo
        for function in self._marked:
            vars(function).pop("__dynamo_disable", None)

    def disable(
        self,
        fn: Callable[..., Any] | None = None,
        recursive: bool = True,
        *,
        reason: str | None = None,
        wrapping: bool = True,
    ) -> Any:
        """Nothing is compiled here, so that there is nothing to keep PyTorch's own functions from.

        They alone are not wrapped (torch/_compile.py) and ask again later; others are marked once.
        """
        if fn is None or wrapping:
            real = self.__getattr__("disable")
            return real(fn, recursive, reason=reason, wrapping=wrapping)
        self._marked.append(fn)
        return fn

    def graph_break(self, msg: str = "") -> None:
        """There is no graph."""

    def __getattr__(self, name: str) -> Any:
        self.remove()
        return getattr(importlib.import_module(_COMPILER), name)
