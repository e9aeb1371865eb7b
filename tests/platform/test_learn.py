"""Every objective learns: its encoder's neighbours are better than those of the one it began as."""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from learning_job import Job, Learned, join_ray, learn
from learning_page import STUDY, write_page
from learning_rows import ROWS, Row

from mimlab.spec.load import load_study
from mimlab.storage import lease
from mimlab_objectives.objectives.base import objectives
from mimlab_objectives.registry import import_all

TRAIN_FILES = ("train-00000-of-00005.parquet", "train-00001-of-00005.parquet")
TEST_FILE = "test-00000-of-00001.parquet"
NUM_TEST = 2_500
"""Their kNN top-1 has a standard error of 0.01; the gain, on the same images, hardly more."""

RECIPES = {"beit": "simmim", "maskfeat": "simmim"}
"""Rows that are an objective with another target, and that objective."""

PROCESSES = min(2, os.cpu_count() or 1)
"""Of one core each. Each has a stream, and these share the four CPUs that Ray has here."""


def marks_of(row: Row) -> list[pytest.MarkDecorator]:
    family = [pytest.mark.family] if row.of_family else []
    if not row.fails:
        return family
    return [*family, pytest.mark.xfail(strict=True, raises=AssertionError, reason=row.fails)]


CASES = [pytest.param(name, id=name, marks=marks_of(row)) for name, row in ROWS.items()]


def test_every_objective_has_a_row() -> None:
    import_all("mimlab_objectives.objectives")
    own = [e for e in objectives.entries() if e.part.__module__.startswith("mimlab_objectives.")]
    study = load_study(STUDY).study
    trained = {
        name: preset.get("objective", {"name": study.objective.name})["name"]
        for name, preset in study.presets.items()
    }
    assert trained.keys() == ROWS.keys()
    assert {name for name in trained if name not in RECIPES} == {entry.name for entry in own}
    assert all(trained[name] == RECIPES.get(name, name) for name in trained)


def test_no_family_has_two_rows_where_time_is_short() -> None:
    chosen = [row.family for row in ROWS.values() if row.of_family]
    assert len(chosen) == len(set(chosen)) == 6
    assert not any(row.of_family and row.fails for row in ROWS.values())


def test_a_part_of_the_rows_leaves_the_page_alone(tmp_path: Path) -> None:
    page, learned = tmp_path / "learned.md", Learned(400, 20, 5, 2, 0.25, 0.375, 0.3, 60.0)
    study = load_study(STUDY).study
    assert not write_page(page, study, {"mae": learned})
    assert not page.exists()
    assert write_page(page, study, dict.fromkeys(ROWS, learned))
    lines = page.read_text().splitlines()
    assert sum(" | 400 | 0.250 | 0.375 | +0.125 | " in line for line in lines) == len(ROWS)


@pytest.fixture(scope="module")
def cifar(ray_local: None, test_data: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The folder of a part of CIFAR-10, imported."""
    from mimlab.data.importing import import_data

    source, folder = test_data / "cifar10", tmp_path_factory.mktemp("cifar10")
    for name in TRAIN_FILES:
        (folder / name).symlink_to(source / name)
    pq.write_table(pq.read_table(source / TEST_FILE).slice(0, NUM_TEST), folder / TEST_FILE)
    return str(import_data(folder, folder / "imported").root)


@pytest.fixture(scope="module")
def learning(
    cifar: str,
    create_study: Callable,
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Mapping[str, Future[Learned]]]:
    """What the chosen rows learn, a few at a time; the page, once all are there."""
    import ray

    asked = [getattr(item, "callspec", None) for item in request.session.items]
    names = [spec.params["name"] for spec in asked if spec and spec.params.get("name") in ROWS]
    storage = tmp_path_factory.mktemp("learned")
    joined = ray.get_runtime_context().gcs_address, os.pathsep.join(filter(None, sys.path))
    spawning = multiprocessing.get_context("spawn")

    def job(name: str) -> Job:
        made = create_study(STUDY, f"data.images={cifar}", f"storage={storage}", preset=name)
        held = lease.acquire(made.submission)
        return Job(made.worker(held.fence), made.order())

    with ProcessPoolExecutor(PROCESSES, spawning, join_ray, joined) as pool:
        found = {name: pool.submit(learn, job(name)) for name in names}
        yield found
        page = os.environ.get("MIMLAB_LEARN_PAGE")
        done = {name: future.result() for name, future in found.items() if not future.exception()}
        if page and not write_page(Path(page), load_study(STUDY).study, done):
            print(f"{page} is left as it was: {len(done)} of {len(ROWS)} rows were trained")


@pytest.mark.learn
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("name", CASES)
def test_an_objective_lifts_its_encoder_above_the_untrained_one(
    name: str, learning: Mapping[str, Future[Learned]]
) -> None:
    learned = learning[name].result()
    print(f"kNN {learned.untrained:.3f} → {learned.trained:.3f} in {learned.seconds:.0f} s")
    assert learned.gain >= ROWS[name].margin
