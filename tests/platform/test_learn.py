"""Each family learns: its encoder's neighbours are better than those of the encoder it began as."""

from __future__ import annotations

import datetime
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

from mimlab.data.segments import Place
from mimlab.probe.task import probe_baselines, probe_export
from mimlab.storage import lease
from mimlab.storage.records import ProbeRecord
from mimlab.train.session import Session

QUICKSTART = Path(__file__).parents[2] / "sweeps" / "quickstart.yaml"
KNN = "probe/knn/top1"
MARGIN = 0.1
"""Of kNN top-1 on the test digits, in absolute terms."""

FAMILIES: dict[str, list[str]] = {
    "mae": [],
    "simmim": ["objective={name: simmim}", "target={name: pixels, norm: none}"],
}
"""Name → how the quickstart is changed to train it."""


class Learned(NamedTuple):
    """kNN top-1 on the test digits before and after training."""

    family: str
    steps: int
    before: float
    after: float
    seconds: float


@pytest.fixture(scope="module")
def table() -> Iterator[list[Learned]]:
    """What each family learned; written as Markdown to the file that `make learn` names."""
    rows: list[Learned] = []
    yield rows
    path = os.environ.get("MIMLAB_LEARN_TABLE")
    if path and rows:
        Path(path).write_text(markdown(rows))


def markdown(rows: list[Learned]) -> str:
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()
    made_by = f"commit {commit or 'unknown'}, torch {torch.__version__}, {os.cpu_count()} cores"
    head = f"""# What each family learns

kNN top-1 on the test digits by the untrained encoder and by the one that the first trial of
`sweeps/quickstart.yaml` trained: random patches, half of them hidden. `make learn` writes this
table, and fails where the gain is below {MARGIN:g}.

{datetime.date.today().isoformat()}, {made_by}.

| family | steps | untrained | trained | seconds |
| --- | ---: | ---: | ---: | ---: |
"""
    form = "| {} | {} | {:.4f} | {:.4f} | {:.0f} |\n"
    return head + "".join(form.format(*row) for row in rows)


@pytest.mark.learn
@pytest.mark.timeout(900)
@pytest.mark.usefixtures("ray_local")
@pytest.mark.parametrize(("family", "changes"), FAMILIES.items(), ids=list(FAMILIES))
def test_a_family_lifts_its_encoder_above_the_untrained_one(
    family: str,
    changes: list[str],
    table: list[Learned],
    tmp_path: Path,
    create_study: Callable,
) -> None:
    started = time.perf_counter()
    # The first trial of the quickstart: random patches, half of them hidden.
    made = create_study(QUICKSTART, f"storage={tmp_path / 'results'}", *changes)
    held = lease.acquire(made.submission)
    session = Session(made.worker(held.fence, cpus=2.0), made.trial, Place(), torch.device("cpu"))
    assert session.spec.masking.model_dump() == {"name": "random", "ratio": 0.5}
    outcome = session.run()
    assert outcome.state == "finished"
    order = made.order(threads=2).model_dump(mode="json")
    probe_export(order, made.trial.id, outcome.step, ["knn"])
    probe_baselines(order, made.submission.id)
    (trained,) = made.trial.probes()
    path = made.submission.file("baselines/random-init-knn.json")
    untrained = made.trial.store.read_record(path, ProbeRecord)
    assert untrained is not None
    before, after = untrained.metrics["baseline/random-init/knn/top1"], trained.metrics[KNN]
    seconds = time.perf_counter() - started
    table.append(Learned(family, outcome.step, before, after, seconds))
    print(f"kNN of the untrained encoder {before:.4f}, of the trained one {after:.4f}")
    assert after >= before + MARGIN
