"""Images of a few colours, and a tokenizer of another package that learns them."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from ray import cloudpickle

from mimlab.data.manifest import DataSet

PLUGIN = Path(__file__).parents[2] / "plugin" / "patch_kmeans" / "patch_kmeans_parts.py"
IMAGES, TESTED = 60, 5
SIDE = 24


@pytest.fixture(scope="session")
def parts() -> Iterator[ModuleType]:
    """The plug-in's module; Ray's processes get its code with its objects."""
    name = PLUGIN.stem
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, PLUGIN)
        assert spec is not None and spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    cloudpickle.register_pickle_by_value(sys.modules[name])
    yield sys.modules[name]
    cloudpickle.unregister_pickle_by_value(sys.modules[name])


def picture(number: int) -> np.ndarray:
    """Cells of a few levels of each colour."""
    levels = np.random.default_rng(number).integers(0, 4, (6, 6, 3)) * 85
    return np.kron(levels, np.ones((4, 4, 1))).astype(np.uint8)


@pytest.fixture(scope="session")
def coloured(named_data: Callable[..., DataSet], tmp_path_factory) -> DataSet:
    """60 images of 24 × 24 to train on, in shards of 12 rows, and 5 others."""
    numbers = {"train": range(IMAGES), "test": range(IMAGES, IMAGES + TESTED)}
    return named_data(
        tmp_path_factory.mktemp("coloured") / "data",
        {
            split: {f"{split}/{number:03d}.png": picture(number) for number in members}
            for split, members in numbers.items()
        },
    )
