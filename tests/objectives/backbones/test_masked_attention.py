"""Both ways of `attend` are the closed form."""

from __future__ import annotations

import pytest
import torch

from mimlab_objectives.backbones.masked_attention import attend, laid_out


@pytest.mark.parametrize(("precision", "bound"), [(torch.float32, 1e-5), (torch.bfloat16, 0.03)])
@pytest.mark.parametrize("masked", [False, True])
def test_the_values_of_visible_keys_are_weighed_by_softmax(
    precision: torch.dtype, bound: float, *, masked: bool
) -> None:
    qkv = torch.randn(
        3, 2, 4, 7, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64
    )
    mask = torch.ones(7, 7, dtype=torch.bool).tril() if masked else None

    exact = qkv.clone().requires_grad_()
    q, k, v = exact
    scores = q @ k.mT / 8**0.5
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    expected = scores.softmax(dim=-1) @ v
    expected.square().sum().backward()

    given = qkv.to(precision).requires_grad_()
    q, k, v = laid_out(given)
    found = attend(q, k, v, mask)
    found.square().sum().backward()

    assert found.dtype == precision
    assert (found - expected).abs().max() < bound
    assert exact.grad is not None and given.grad is not None
    assert (given.grad - exact.grad).norm() / exact.grad.norm() < bound


def test_bfloat16_takes_a_part_of_the_rows_without_a_copy() -> None:
    rows = torch.randn(2, 7, 3, 4, 8, dtype=torch.bfloat16).permute(2, 0, 3, 1, 4)
    _, k, _ = laid_out(rows)
    assert k[:, :, :5].flatten(0, 1).data_ptr() == k.data_ptr()
