from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mimlab_objectives.teachers.sinkhorn import balanced_assignments


def logits(batch: int = 32, positions: int = 3, clusters: int = 8) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return 4 * torch.randn(batch, positions, clusters, generator=generator)


@pytest.mark.parametrize("positionwise", [True, False])
@pytest.mark.parametrize("iterations", [1, 3])
def test_shares_of_each_patch_sum_to_1(positionwise: bool, iterations: int) -> None:
    shares = balanced_assignments(logits(), iterations, positionwise=positionwise)
    torch.testing.assert_close(shares.sum(-1), torch.ones(32, 3), rtol=1e-6, atol=0)


def test_in_the_end_clusters_are_equally_full_at_each_position() -> None:
    shares = balanced_assignments(logits(), 200)
    torch.testing.assert_close(shares.sum(0), torch.full((3, 8), 4.0), rtol=1e-4, atol=0)
    pooled = balanced_assignments(logits(), 200, positionwise=False)
    torch.testing.assert_close(pooled.sum((0, 1)), torch.full((8,), 12.0), rtol=1e-4, atol=0)
    assert not torch.allclose(pooled.sum(0), torch.full((3, 8), 4.0), rtol=0.05)


def test_equal_features_have_equal_shares_and_no_preference_none() -> None:
    given = logits()
    given[1] = given[0]
    shares = balanced_assignments(given, 3)
    assert torch.equal(shares[0], shares[1])
    even = balanced_assignments(torch.zeros(4, 2, 5), 3)
    torch.testing.assert_close(even, torch.full((4, 2, 5), 0.2))


def test_logits_far_apart_neither_overflow_nor_vanish() -> None:
    shares = balanced_assignments(logits() * 1000, 3)
    assert torch.isfinite(shares).all()
    torch.testing.assert_close(shares.sum(-1), torch.ones(32, 3), rtol=1e-5, atol=0)


WORKER = """
import sys, torch, torch.distributed as dist
from mimlab_objectives.teachers.sinkhorn import balanced_assignments
rank, folder = int(sys.argv[1]), sys.argv[2]
dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
logits = torch.load(f"{folder}/logits.pt")
torch.save(balanced_assignments(logits[rank * 16 : rank * 16 + 16], 3), f"{folder}/{rank}.pt")
dist.destroy_process_group()
"""


def test_two_processes_assign_as_one_does(tmp_path: Path) -> None:
    torch.save(logits(), tmp_path / "logits.pt")
    workers = [
        subprocess.Popen([sys.executable, "-c", WORKER, str(rank), str(tmp_path)])
        for rank in range(2)
    ]
    assert [worker.wait(120) for worker in workers] == [0, 0]
    parts = [torch.load(tmp_path / f"{rank}.pt") for rank in range(2)]
    torch.testing.assert_close(
        torch.cat(parts), balanced_assignments(logits(), 3), rtol=1e-5, atol=1e-7
    )
