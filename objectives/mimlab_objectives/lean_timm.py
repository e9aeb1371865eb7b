"""timm without PyTorch's compiler, which nothing here uses and every process would wait for.

When they are imported, torchvision 0.29 (torchvision/ops/roi_align.py) takes one function from
`torch._dynamo`, and timm 1.0 (timm/models/naflexvit.py) marks one with `torch.compiler.disable`;
each brings in the whole compiler: 4 of the 7 CPU seconds of `import timm`. Both are given stand-ins
that load it once they are called.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import sys
from collections.abc import Callable, Iterator
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

_COMPILER = "torch._dynamo"


def install() -> None:
    """Have the process's first `import timm` go without the compiler."""
    if "timm" not in sys.modules and not any(isinstance(f, _Finder) for f in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


class _Finder(MetaPathFinder):
    def find_spec(
        self,
        fullname: str,
        path: Any,  # noqa: ARG002  the protocol's names
        target: ModuleType | None = None,  # noqa: ARG002
    ) -> ModuleSpec | None:
        if fullname != "timm":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader)
        return spec


class _Loader(Loader):
    """Another loader, in whose module's way the compiler does not stand."""

    def __init__(self, own: Loader) -> None:
        self._own = own

    def __getattr__(self, name: str) -> Any:
        return getattr(self._own, name)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._own.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        with _without_compiler():
            self._own.exec_module(module)


@contextlib.contextmanager
def _without_compiler() -> Iterator[None]:
    import torch.compiler  # for itself seconds

    if _COMPILER in sys.modules:
        yield
        return
    utils = ModuleType(f"{_COMPILER}.utils")
    utils.is_compile_supported = _is_compile_supported  # pyright: ignore[reportAttributeAccessIssue]
    sys.modules[utils.__name__] = utils
    disable, torch.compiler.disable = torch.compiler.disable, _disable_when_called
    try:
        yield
    finally:
        torch.compiler.disable = disable
        if sys.modules[utils.__name__] is utils:
            del sys.modules[utils.__name__]


def _is_compile_supported(device_type: Any) -> Any:
    from torch._dynamo.utils import is_compile_supported

    return is_compile_supported(device_type)


def _disable_when_called(
    fn: Callable[..., Any] | None = None, recursive: bool = True, *, reason: str | None = None
) -> Any:
    if fn is None:
        return functools.partial(_disable_when_called, recursive=recursive, reason=reason)

    @functools.cache
    def disabled() -> Callable[..., Any]:
        import torch.compiler

        return torch.compiler.disable(fn, recursive, reason=reason)

    @functools.wraps(fn)
    def call(*arguments: Any, **named: Any) -> Any:
        return disabled()(*arguments, **named)

    return call
