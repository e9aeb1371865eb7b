from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mimlab_objectives.masking.plan import MaskPlan
from mimlab_objectives.masking.select import select
from mimlab_objectives.predictors.places import hidden_ids, in_place, keeping, of_places
from mimlab_objectives.predictors.query import Attend, QueryPredictor
from mimlab_objectives.registry import ParamsError

KEPT = torch.tensor([[0, 3, 5, 9], [1, 2, 30, 63]])
ASKED = torch.tensor([[1, 2, 4], [0, 3, 4]])
ALL: tuple[Attend, ...] = ("joint", "cross", "cross_and_queries", "self_cross")


def predictor_of(attend: Attend, *, from_kept: bool = False) -> QueryPredictor:
    torch.manual_seed(0)
    predictor = QueryPredictor(
        24,
        20,
        grid=(8, 8),
        num_prefix_tokens=1,
        width=32,
        depth=2,
        num_heads=4,
        attend=attend,
        from_kept=from_kept,
    )
    return predictor.eval()


def encoded(seed: int = 0) -> Tensor:
    return torch.randn(2, 5, 24, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("attend", ALL)
def test_each_place_that_is_asked_for_gets_an_answer(attend: Attend) -> None:
    predictor = predictor_of(attend)
    assert predictor(encoded(), KEPT, ASKED).shape == (2, 3, 20)
    assert predictor(encoded(), KEPT, ASKED[:, :0]).shape == (2, 0, 20)


@pytest.mark.parametrize("attend", ALL)
@pytest.mark.parametrize("from_kept", [False, True])
def test_answers_follow_the_order_of_the_questions_and_not_that_of_the_context(
    attend: Attend, from_kept: bool
) -> None:
    predictor = predictor_of(attend, from_kept=from_kept)
    answers = predictor(encoded(), KEPT, ASKED)
    swapped = predictor(encoded(), KEPT, ASKED.flip(1))
    torch.testing.assert_close(swapped.flip(1), answers, rtol=1e-4, atol=1e-5)
    order = torch.tensor([2, 0, 3, 1])
    context = torch.cat([encoded()[:, :1], encoded()[:, 1:][:, order]], dim=1)
    torch.testing.assert_close(
        predictor(context, KEPT[:, order], ASKED), answers, rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("attend", ALL)
def test_only_crossing_attention_keeps_questions_apart(attend: Attend) -> None:
    predictor = predictor_of(attend)
    with torch.no_grad():  # initial weights are so small that queries hardly speak
        for parameter in predictor.parameters():
            parameter.mul_(5)
    among_three = predictor(encoded(), KEPT, ASKED)[:, :1]
    alone = predictor(encoded(), KEPT, ASKED[:, :1])
    assert torch.allclose(among_three, alone, rtol=1e-4, atol=1e-5) == (attend == "cross")


@pytest.mark.parametrize("attend", ALL)
def test_answers_depend_on_the_context_and_on_the_place(attend: Attend) -> None:
    predictor = predictor_of(attend)
    answers = predictor(encoded(), KEPT, ASKED)
    assert not torch.allclose(answers, predictor(encoded(1), KEPT, ASKED))
    assert not torch.allclose(answers[:, 0], answers[:, 1])


def test_a_question_starts_from_the_kept_tokens_near_it() -> None:
    """Far from all kept patches but one, it starts as that one does."""
    predictor = predictor_of("self_cross", from_kept=True)
    seen: list[Tensor] = []

    def keep(_module: object, inputs: tuple[Tensor, ...]) -> None:
        seen.append(inputs[0])

    predictor.blocks[0].register_forward_pre_hook(keep)
    predictor(encoded(), torch.full((2, 4), 7), ASKED)
    context = predictor.embed(encoded())[:, 1:].mean(1, keepdim=True)
    expected = predictor.mask_token + predictor.positions[ASKED] + context
    torch.testing.assert_close(seen[0], expected)


def test_a_width_that_heads_do_not_divide_is_refused() -> None:
    with pytest.raises(ParamsError, match="not divisible") as caught:
        QueryPredictor(
            8,
            8,
            grid=(2, 2),
            num_prefix_tokens=0,
            width=32,
            depth=1,
            num_heads=5,
            attend="joint",
            field="decoder",
        )
    assert caught.value.field == "decoder_heads"


def plan() -> MaskPlan:
    return select(torch.zeros(3, 64), 48, torch.arange(3), (8, 8))


def test_hidden_ids_are_those_of_the_mask() -> None:
    ids = hidden_ids(plan())
    hidden = torch.zeros(3, 64, dtype=torch.bool).scatter_(1, ids, True)
    assert torch.equal(hidden, plan().hidden[:, 0])
    assert torch.equal(ids, ids.sort(1).values)
    kept = keeping(plan(), ids).kept_ids
    assert kept is not None and torch.equal(kept[:, 0], ids)


def test_features_go_back_to_where_they_came_from() -> None:
    ids, features = hidden_ids(plan()), torch.randn(3, 64, 5)
    back = in_place(of_places(features, ids), ids, plan())
    expected = torch.where(plan().hidden[:, 0, :, None], features, 0.0)
    assert torch.equal(back[:, 0], expected)
