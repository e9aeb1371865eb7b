"""Losses of a predictor of losses."""

import torch

from mimlab_objectives.objectives.ranking import ranking_losses, standardised_losses

ALL = torch.ones(2, 1, 6, dtype=torch.bool)
LOSSES = torch.tensor([[[1.0, 3, 2, 6, 4, 5]], [[2.0, 1, 2, 1, 2, 1]]])


def test_equal_scores_cost_0_693145() -> None:
    costs = ranking_losses(torch.full((2, 1, 6), 3.0), LOSSES, ALL)
    torch.testing.assert_close(costs, torch.full((2, 1), 0.693145), rtol=0, atol=1e-6)


def test_the_right_order_costs_nothing_and_the_wrong_one_much() -> None:
    assert ranking_losses(50 * LOSSES, LOSSES, ALL).max() < 1e-4
    assert ranking_losses(-50 * LOSSES, LOSSES, ALL).min() > 10


def test_only_differences_of_scores_count() -> None:
    scores = torch.randn(2, 1, 6)
    shifted = ranking_losses(scores + 7, LOSSES, ALL)
    torch.testing.assert_close(shifted, ranking_losses(scores, LOSSES, ALL))


def test_by_hand_over_pairs_that_count_and_differ() -> None:
    """Patches 0 to 2 of losses 1, 1, 2: two pairs, both orders of each, the fourth is not there."""
    scores = torch.tensor([[[0.3, -0.2, 0.5, 9.0]]])
    losses = torch.tensor([[[1.0, 1.0, 2.0, 8.0]]])
    counted = torch.tensor([[[True, True, True, False]]])
    right = torch.sigmoid(torch.tensor([0.5 - 0.3, 0.5 + 0.2]))
    torch.testing.assert_close(
        ranking_losses(scores, losses, counted)[0, 0], -(right + 1e-6).log().mean()
    )


def test_swapping_two_losses_turns_the_gradient_round() -> None:
    gradients = []
    for losses in ([1.0, 2.0], [2.0, 1.0]):
        scores = torch.zeros(1, 1, 2, requires_grad=True)
        counted = torch.ones(1, 1, 2, dtype=torch.bool)
        ranking_losses(scores, torch.tensor([[losses]]), counted).sum().backward()
        gradients.append(scores.grad)
    assert gradients[0] is not None and gradients[0].abs().min() > 0
    assert torch.equal(gradients[0], -gradients[1])


def test_no_gradient_reaches_the_losses() -> None:
    losses = LOSSES.clone().requires_grad_()
    scores = torch.randn(2, 1, 6, requires_grad=True)
    total = ranking_losses(scores, losses, ALL) + standardised_losses(scores, losses, ALL)
    total.sum().backward()
    assert losses.grad is None


def test_no_pair_is_no_loss() -> None:
    nothing = torch.zeros_like(ALL)
    for function in (ranking_losses, standardised_losses):
        assert (function(torch.randn(2, 1, 6), LOSSES, nothing) == 0).all()
    assert (ranking_losses(torch.randn(2, 1, 6), torch.ones(2, 1, 6), ALL) == 0).all()


def test_absolute_losses_are_standardised_within_the_image() -> None:
    wanted = (LOSSES - LOSSES.mean(2, keepdim=True)) / LOSSES.std(2, correction=0, keepdim=True)
    assert standardised_losses(wanted, 10 * LOSSES + 4, ALL).max() < 1e-6
    torch.testing.assert_close(
        standardised_losses(wanted + 0.5, LOSSES, ALL), torch.full((2, 1), 0.25), rtol=1e-4, atol=0
    )
