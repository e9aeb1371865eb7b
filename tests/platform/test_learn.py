"""Each family learns: its encoder's neighbours are better than those of the encoder it began as."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

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

MAE: list[str] = []
SIMMIM = ["objective={name: simmim}", "target={name: pixels, norm: none}"]


@pytest.mark.learn
@pytest.mark.timeout(900)
@pytest.mark.usefixtures("ray_local")
@pytest.mark.parametrize("changes", [MAE, SIMMIM], ids=["mae", "simmim"])
def test_a_family_lifts_its_encoder_above_the_untrained_one(
    changes: list[str], tmp_path: Path, create_study: Callable
) -> None:
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
    print(f"kNN of the untrained encoder {before:.4f}, of the trained one {after:.4f}")
    assert after >= before + MARGIN
