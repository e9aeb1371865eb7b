import pytest
import torch

from mimlab_objectives.probes.accuracy import accuracies, rank_of_label


def test_the_rank_counts_better_scores() -> None:
    scores = torch.tensor([[0.1, 0.7, 0.2], [0.1, 0.7, 0.2], [0.1, 0.7, 0.2]])
    assert rank_of_label(scores, torch.tensor([0, 1, 2])).tolist() == [2, 0, 1]


def test_equal_scores_go_to_the_lower_class() -> None:
    assert rank_of_label(torch.zeros(3, 3), torch.tensor([0, 1, 2])).tolist() == [0, 1, 2]


def test_a_score_that_is_not_a_number_is_never_right() -> None:
    nan, inf = float("nan"), float("inf")
    scores = torch.tensor([[nan, nan], [0.0, nan], [nan, 0.0], [-inf, nan]])
    assert (rank_of_label(scores, torch.tensor([0, 1, 0, 1])) > 0).all()


def test_top5_is_reported_where_it_can_be_wrong() -> None:
    ranks = torch.tensor([0, 3, 5, 9])
    assert accuracies(ranks, 10) == pytest.approx({"top1": 0.25, "top5": 0.5})
    assert accuracies(ranks, 5) == pytest.approx({"top1": 0.25})
