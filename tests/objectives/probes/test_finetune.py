"""Fine-tuning learns, layer by layer as MAE says, and leaves the encoder alone."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from timm.layers.drop import DropPath
from timm.models import VisionTransformer
from torch import Tensor

from mimlab_objectives.backbones.vit import BackboneParams, VitBackbone
from mimlab_objectives.probes.features import Pooling
from mimlab_objectives.probes.finetune import (
    ImageBatch,
    Recipe,
    Task,
    classifier_of,
    erased_of,
    finetune,
    half_precision,
    parameter_groups,
)
from mimlab_objectives.probes.global_draws import drawn_from

SIZE, DEPTH = 16, 3
BACKBONE = BackboneParams(
    name="vit_tiny_patch16_224", patch_size=4, embed_dim=32, depth=DEPTH, num_heads=2
)


def encoder(seed: int = 0) -> VisionTransformer:
    torch.manual_seed(seed)
    return VitBackbone(BACKBONE, SIZE).vit.eval()


def colours(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Four classes, each of its own colour under noise."""
    rng = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 4
    tints = torch.tensor([[1.0, -1, -1], [-1, 1, -1], [-1, -1, 1], [1, 1, 1]])
    images = 0.5 * torch.randn(count, 3, SIZE, SIZE, generator=rng)
    return images + tints[labels][:, :, None, None], labels


def batches(data: tuple[Tensor, Tensor], steps: int, size: int = 32) -> Iterator[ImageBatch]:
    for step in range(steps):
        rows = torch.arange(step * size, (step + 1) * size) % len(data[1])
        yield data[0][rows], data[1][rows]


def tuned(model: VisionTransformer, recipe: Recipe, *, steps: int = 120, seed: int = 0):
    train = colours(64, 0)
    task = Task(num_classes=4, pooling="mean", total_steps=steps, seed=seed)
    said: list[dict[str, int | float]] = []
    scores = finetune(model, batches(train, steps), [train], recipe, task, tell=said.append)
    return scores, said


RECIPE = Recipe(epochs=30, batch_size=32, base_lr=8e-3, warmup_epochs=3)


def test_separable_images_are_learned_by_heart() -> None:
    scores, said = tuned(encoder(), RECIPE)
    assert scores["top1"] == 1.0
    losses = [one["loss"] for one in said]
    assert losses[-1] < losses[0]
    assert [one["done"] for one in said] == list(range(6, 121, 6))


def test_mixing_and_smoothing_may_be_left_out() -> None:
    left_out = ("mixup", "cutmix", "drop_path", "random_erasing")
    smooth = RECIPE.model_copy(update=dict.fromkeys(left_out, 0.0))
    plain = smooth.model_copy(update={"label_smoothing": 0.0, "base_lr": 2e-2})
    # Whatever is predicted, the loss is no lower than the entropy of the smoothed label.
    shares = np.array([0.925, 0.025, 0.025, 0.025])
    entropy = -(shares * np.log(shares)).sum()
    scores = [tuned(encoder(), recipe)[0] for recipe in (smooth, plain)]
    assert [score["top1"] for score in scores] == [1.0, 1.0]
    assert scores[0]["train_loss"] >= entropy > 0.3 > scores[1]["train_loss"]


def noisy(share: float, count: int = 400) -> tuple[Tensor, Tensor]:
    """Constant images after erasing, and where they changed."""
    images = torch.full((count, 3, 32, 32), 9.0)
    task = Task(num_classes=4, pooling="mean", total_steps=1, seed=0)
    with drawn_from(task.seed, images.device):
        erased = erased_of(images, Recipe(random_erasing=share))
    assert (images == 9).all()
    return erased, (erased != 9).any(1)


def test_rectangles_of_a_quarter_of_the_images_become_noise() -> None:
    erased, changed = noisy(0.25)
    hit = changed.any((1, 2))
    assert abs(float(hit.float().mean()) - 0.25) < 0.09  # four deviations
    for where in changed[hit]:
        rows, columns = where.any(1), where.any(0)
        assert torch.equal(where, rows[:, None] & columns[None])  # a rectangle
        assert 0.01 < float(where.float().mean()) < 0.36
    noise = erased.permute(0, 2, 3, 1)[changed]
    assert abs(float(noise.mean())) < 0.02 and abs(float(noise.std()) - 1) < 0.02


def test_erasing_may_be_left_out_or_meet_every_image() -> None:
    assert not noisy(0.0)[1].any()
    assert noisy(1.0)[1].any((1, 2)).all()


def test_it_trains_in_half_precision() -> None:
    """As on a GPU, by the autocast of the CPU; here it outlives steps, so that it may keep none of
    the weights."""
    with torch.autocast("cpu", torch.bfloat16, cache_enabled=False):
        scores, _ = tuned(encoder(), RECIPE)
    assert scores["top1"] == 1.0


def test_a_cpu_trains_in_full_precision() -> None:
    with half_precision(torch.device("cpu")):
        assert not torch.is_autocast_enabled("cpu")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_trains_in_half_precision() -> None:
    with half_precision(torch.device("cuda")):
        product = torch.ones(2, 2, device="cuda") @ torch.ones(2, 2, device="cuda")
    assert product.dtype == torch.bfloat16
    train = [(images.cuda(), labels.cuda()) for images, labels in batches(colours(64, 0), 4)]
    task = Task(num_classes=4, pooling="mean", total_steps=4, seed=0)
    first, again = (
        finetune(encoder().cuda(), train, train[:1], RECIPE, task, tell=[].append) for _ in range(2)
    )
    assert first == again


def test_the_encoder_that_was_given_stays_as_it_was() -> None:
    model = encoder()
    before = copy.deepcopy(model.state_dict())
    tuned(model, RECIPE, steps=3)
    after = model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert not model.training


def test_layers_have_the_factors_of_mae() -> None:
    """0.65^(depth + 1 − layer), patches and positions layer 0, the classifier the last."""
    model = classifier_of(encoder(), 4, "mean", 0.0)
    found = {
        id(parameter): group["lr_scale"]
        for group in parameter_groups(model, Recipe())
        for parameter in group["params"]
    }
    for name, parameter in model.named_parameters():
        if name.startswith("blocks."):
            layer = int(name.split(".")[1]) + 1
        else:
            layer = {"head": DEPTH + 1, "norm": DEPTH}.get(name.split(".")[0], 0)
        assert found[id(parameter)] == pytest.approx(0.65 ** (DEPTH + 1 - layer)), name


def test_vectors_and_positions_do_not_decay() -> None:
    model = classifier_of(encoder(), 4, "mean", 0.0)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    for group in parameter_groups(model, Recipe()):
        for parameter in group["params"]:
            free = parameter.ndim == 1 or names[id(parameter)] in ("pos_embed", "cls_token")
            assert group["weight_decay"] == (0.0 if free else 0.05)


def test_stochastic_depth_grows_linearly() -> None:
    model = classifier_of(encoder(), 4, "mean", 0.2)
    rates = [
        m.drop_prob for block in model.blocks for m in block.modules() if isinstance(m, DropPath)
    ]
    assert rates == pytest.approx([0.0, 0.0, 0.1, 0.1, 0.2, 0.2])


def test_positions_that_pre_training_froze_are_trained() -> None:
    backbone = VitBackbone(BACKBONE, SIZE)
    backbone.set_sincos_positions()
    assert all(p.requires_grad for p in classifier_of(backbone.vit, 4, "mean", 0.0).parameters())


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_the_classifier_sees_what_is_pooled(pooling: Pooling) -> None:
    model = classifier_of(encoder(), 4, pooling, 0.0).eval()
    assert isinstance(model.head, torch.nn.Linear)
    torch.nn.init.normal_(model.head.weight)
    images = colours(4, 0)[0]
    tokens = model.forward_features(images)
    seen = tokens[:, 0] if pooling == "cls" else tokens[:, 1:].mean(1)
    assert torch.allclose(model(images), model.head(seen), atol=1e-5)


def test_it_is_a_pure_function_of_data_and_seed() -> None:
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()
    first = tuned(encoder(), RECIPE, steps=6)
    torch.manual_seed(7)
    np.random.seed(7)
    random.seed(7)
    state = torch.get_rng_state()
    assert tuned(encoder(), RECIPE, steps=6) == first
    other = tuned(encoder(), RECIPE, steps=6, seed=1)
    assert other[1] != first[1]
    torch.set_rng_state(torch_state)
    np.random.set_state(numpy_state)
    assert not torch.equal(state, torch_state)


def test_a_batch_that_lost_an_image_is_trained_on() -> None:
    task = Task(num_classes=4, pooling="mean", total_steps=2, seed=0)
    train = [colours(7, 0), colours(1, 1)]
    scores = finetune(encoder(), train, [colours(4, 0)], RECIPE, task, tell=[].append)
    assert 0 <= scores["top1"] <= 1 and np.isfinite(scores["train_loss"])


def test_no_images_are_refused() -> None:
    task = Task(num_classes=4, pooling="mean", total_steps=2, seed=0)
    for train, test in (([], [colours(4, 0)]), ([colours(4, 0)], [])):
        with pytest.raises(ValueError, match="fine-tuning needs images"):
            finetune(encoder(), train, test, RECIPE, task, tell=[].append)


def test_a_warm_up_without_an_end_is_refused() -> None:
    with pytest.raises(ValueError, match="5 is not below the 5 epochs"):
        Recipe(epochs=5, warmup_epochs=5)
