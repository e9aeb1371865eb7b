"""The attentive probe: exact attention, and what mean pooling cannot see."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from mimlab_objectives.probes.attentive import (
    SETTINGS,
    AttentiveClassifier,
    AttentiveClassifiers,
    TokenBatch,
    attentive_probe,
    num_heads,
)
from mimlab_objectives.probes.linear import linear_probe

TOKENS, DIM, STEPS = 9, 16, 120


def one_tells(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Images of two classes that one token tells, somewhere; the mean token is the same for all.

    Channel 0 marks the token, channel 1 of it is the class; the others' channel 1 sums to minus
    that.
    """
    rng = torch.Generator().manual_seed(seed)
    labels = torch.randint(2, (count,), generator=rng)
    codes = torch.randn(count, TOKENS, generator=rng)
    marked = torch.randint(TOKENS, (count,), generator=rng)
    images = torch.arange(count)
    codes[images, marked] = 0
    sign = labels * 2.0 - 1
    others = torch.ones(count, TOKENS)
    others[images, marked] = 0
    codes -= others * (codes.sum(1) + sign)[:, None] / (TOKENS - 1)
    codes[images, marked] = sign
    tokens = torch.zeros(count, TOKENS, DIM)
    tokens[:, :, 1] = codes
    tokens[images, marked, 0] = 1
    return tokens, labels


def batches(data: tuple[Tensor, Tensor], steps: int, size: int = 64) -> Iterator[TokenBatch]:
    tokens, labels = data
    for step in range(steps):
        rows = torch.arange(step * size, (step + 1) * size) % len(labels)
        yield tokens[rows], labels[rows]


def probed(train, held_out, test, *, seed: int = 0, steps: int = STEPS, told=None):
    classifiers = AttentiveClassifiers(DIM, 2, seed=seed)
    said = [] if told is None else told
    stream = batches(train, steps)
    return attentive_probe(
        classifiers, stream, [held_out], [test], total_steps=steps, tell=said.append
    )


def test_one_token_tells_what_the_mean_does_not() -> None:
    train, held_out, test = one_tells(512, 0), one_tells(128, 1), one_tells(256, 2)
    means = [(tokens.mean(1), labels) for tokens, labels in (train, test)]
    assert torch.allclose(means[0][0], means[0][0][:1].expand_as(means[0][0]), atol=1e-5)
    # The mean differs by rounding alone; in whole thousandths nothing is left of it.
    (fit, fit_labels), (seen, seen_labels) = [(mean.round(decimals=3), y) for mean, y in means]
    blind = linear_probe(fit, fit_labels, seen, seen_labels, num_classes=2, seed=0, epochs=5)
    assert blind["top1"] == pytest.approx(0.5, abs=0.1)
    result = probed(train, held_out, test)
    assert result["top1"] == result["held_out_top1"] == 1.0
    assert (result["learning_rate"], result["weight_decay"]) in SETTINGS


@pytest.mark.parametrize("dim", [16, 192])
def test_it_is_multi_head_attention_with_one_query(dim: int) -> None:
    torch.manual_seed(0)
    classifier, tokens = AttentiveClassifier(dim, 5), torch.randn(3, 7, dim)
    for weight in classifier.parameters():
        torch.nn.init.normal_(weight, std=0.3)
    query = classifier.query[None, :, None].expand(3, -1, -1, -1)  # (batch, heads, 1, dim)
    keys, values = (
        torch.einsum("btd,hed->bhte", tokens, weight)
        for weight in (classifier.key, classifier.value)
    )
    pooled = functional.scaled_dot_product_attention(query, keys, values).flatten(1)
    assert torch.allclose(classifier(tokens), classifier.linear(pooled), rtol=1e-4, atol=1e-4)


@settings(deadline=None)
@given(st.integers(1, 2048))
def test_heads_divide_the_channels_and_have_64_where_they_can(dim: int) -> None:
    heads = num_heads(dim)
    assert dim % heads == 0
    assert heads == 1 or dim // heads >= 64
    if dim % 64 == 0:
        assert heads == dim // 64


def test_the_order_of_tokens_changes_nothing() -> None:
    classifier, tokens = AttentiveClassifier(16, 3), torch.randn(2, 9, 16)
    order = torch.randperm(9, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(classifier(tokens), classifier(tokens[:, order]), atol=1e-6)


def test_each_classifier_learns_as_it_would_alone() -> None:
    """The sum of the losses gives each the gradient of its own: the first is trained by itself."""
    train, other = one_tells(256, 0), one_tells(64, 1)
    classifiers = AttentiveClassifiers(DIM, 2, seed=0)
    alone = AttentiveClassifiers(DIM, 2, seed=0)
    attentive_probe(classifiers, batches(train, 5), [other], [other], total_steps=5, tell=[].append)
    rate, decay = SETTINGS[0]
    member = alone.members[0]
    optimizer = torch.optim.AdamW(member.parameters(), lr=rate, weight_decay=decay)
    for step, (tokens, labels) in enumerate(batches(train, 5)):
        # Half of five steps' tenth is no warm-up: half a cosine from the first step on.
        share = 0.5 + 0.5 * torch.cos(torch.tensor(torch.pi * step / 5)).item()
        optimizer.param_groups[0]["lr"] = rate * share
        standard = alone.norm(tokens.flatten(0, 1)).unflatten(0, tokens.shape[:2])
        loss = functional.cross_entropy(member(standard), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    for mine, expected in zip(
        classifiers.members[0].parameters(), member.parameters(), strict=True
    ):
        assert torch.allclose(mine, expected, atol=1e-6)


def test_it_is_a_pure_function_of_data_and_seed_and_tells_its_progress() -> None:
    data = one_tells(128, 0), one_tells(64, 1), one_tells(64, 2)
    told: list = []
    state = torch.get_rng_state()
    first = probed(*data, steps=40, told=told)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(123)
    assert probed(*data, steps=40) == first
    assert [said["done"] for said in told] == list(range(2, 41, 2))
    assert {said["of"] for said in told} == {40}


def test_the_test_images_have_no_part_in_the_choice() -> None:
    train, held_out = one_tells(256, 0), one_tells(64, 1)
    tokens, labels = one_tells(64, 2)
    right = probed(train, held_out, (tokens, labels))
    wrong = probed(train, held_out, (tokens, 1 - labels))
    assert wrong["top1"] == pytest.approx(1 - right["top1"])
    for key in ("learning_rate", "weight_decay", "held_out_top1"):
        assert wrong[key] == right[key]


def test_nothing_to_choose_by_is_refused() -> None:
    classifiers = AttentiveClassifiers(DIM, 2, seed=0)
    with pytest.raises(ValueError, match="images to choose by"):
        attentive_probe(classifiers, [], [], [], total_steps=1, tell=[].append)
