"""Random projections over tokens."""

import pytest
import torch

from mimlab_objectives.masking.plan import MaskRequest
from mimlab_objectives.masking.projection import Projection, ProjectionParams, RandomProjection
from mimlab_objectives.registry import ParamsError


def projection(grid: tuple[int, int] = (14, 14), **params: object) -> Projection:
    masking = RandomProjection(ProjectionParams.model_validate(params), grid)
    corruption = masking.plan(MaskRequest(torch.arange(6))).corruption
    assert isinstance(corruption, Projection)
    return corruption


def matrix_of(corruption: Projection) -> torch.Tensor:
    tokens = corruption.buckets.shape[1]
    return corruption.apply(torch.eye(tokens).expand(6, -1, -1))


def test_it_is_an_orthogonal_projection_of_rank_28() -> None:
    matrix = matrix_of(projection())
    torch.testing.assert_close(matrix @ matrix, matrix, rtol=0, atol=1e-6)
    torch.testing.assert_close(matrix, matrix.transpose(1, 2))
    torch.testing.assert_close(matrix.diagonal(dim1=1, dim2=2), torch.full((6, 196), 1 / 7))
    trace = matrix.diagonal(dim1=1, dim2=2).sum(1)
    torch.testing.assert_close(trace, torch.full((6,), 28.0), rtol=1e-5, atol=0)
    assert (torch.linalg.matrix_rank(matrix) == 28).all()


def test_the_official_scale_is_off_by_two_per_cent() -> None:
    matrix = matrix_of(projection(faithful=True))
    torch.testing.assert_close(matrix @ matrix, 0.98 * matrix, rtol=0, atol=1e-6)
    error = (matrix @ matrix - matrix).abs().max()
    assert float(error) == pytest.approx(0.0028, abs=1e-4)


def test_every_bucket_has_seven_tokens_of_as_many_runs() -> None:
    corruption = projection()
    sketch = corruption.sketch()
    assert (sketch.abs().sum(1) == 7).all() and (sketch.abs().sum(2) == 1).all()
    runs = corruption.buckets.view(6, 7, 28).sort(dim=2).values
    assert (runs == torch.arange(28)).all()
    assert (corruption.signs.sum(1) == 0).all()


def test_what_lies_in_the_span_stays_and_nothing_of_it_is_removed() -> None:
    corruption = projection((8, 8), bucket=4)
    inside = corruption.sketch() @ torch.randn(6, 16, 5)
    torch.testing.assert_close(corruption.apply(inside), inside)
    assert corruption.removed(inside).abs().max() < 1e-5
    tokens = torch.randn(6, 64, 5)
    kept, removed = corruption.apply(tokens), corruption.removed(tokens)
    torch.testing.assert_close(kept + removed, tokens)
    products = (kept * removed).sum(1)
    torch.testing.assert_close(products, torch.zeros(6, 5), rtol=0, atol=1e-4)


def test_half_precision_does_not_bend_it() -> None:
    corruption, tokens = projection(), torch.randn(6, 196, 8)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(corruption.apply(tokens), projection().apply(tokens))


@pytest.mark.parametrize(
    ("grid", "params", "field", "message"),
    [
        (
            (8, 8),
            {},
            "bucket",
            "64 patches do not divide into several buckets of 7; 2 or 4 or 8 would",
        ),
        ((7, 1), {}, "bucket", "7 patches do not divide into several buckets of 7"),
        ((8, 8), {"bucket": 4, "faithful": True}, "faithful", "for a bucket of 7, not 4"),
    ],
)
def test_buckets_that_do_not_divide_are_refused(
    grid: tuple[int, int], params: dict, field: str, message: str
) -> None:
    with pytest.raises(ParamsError, match=message) as error:
        projection(grid, **params)
    assert error.value.field == field
