"""Parts that do not fit are refused before anything runs, and the user reads what would."""

from typing import Any

import pytest

from mimlab.spec.checks import pairing_problem
from mimlab_objectives.masking.mage import Mage
from mimlab_objectives.objectives.base import TakesReplaced
from mimlab_objectives.objectives.mae import Mae
from mimlab_objectives.objectives.simmim import SimMim


def refused(studies, word: str, **sections: Any) -> str:
    """The message, which must stand at the line that holds `word`."""
    text = studies.text(**sections)
    message = studies.refusal(text)
    assert message.startswith(f"{studies.line(text, word)}: ")
    return message.partition(": ")[2]


def test_an_image_must_be_a_multiple_of_its_patches(studies) -> None:
    message = refused(studies, "image_size", data={"images": "digits", "image_size": 30})
    assert message == ("data.image_size: 30 px is no multiple of the 4 px patch; 28 or 32 is")


def test_a_backbone_that_timm_does_not_know(studies) -> None:
    message = refused(studies, "vit_tny", backbone={"name": "vit_tny_patch16_224"})
    assert message.startswith("backbone.name: timm knows no model 'vit_tny_patch16_224'; the")
    assert "vit_tiny_patch16_224" in message


def test_a_decoder_that_cannot_be_built(studies) -> None:
    objective = {"name": "mae", "decoder_width": 16, "decoder_depth": 1, "decoder_heads": 3}
    message = refused(studies, "decoder_heads", objective=objective)
    assert message == "objective.decoder_heads: decoder_width 16 is not divisible by 3 heads"


def test_a_block_that_is_larger_than_what_is_hidden(studies) -> None:
    message = refused(studies, "min_area", masking={"name": "block", "ratio": 0.5, "min_area": 9})
    assert message == (
        "masking.min_area: min_area 9 exceeds the 8 patches that ratio 0.5 hides on a 4×4 grid: "
        "lower min_area or raise ratio"
    )


def test_a_ratio_that_hides_everything(studies) -> None:
    message = refused(studies, "ratio", masking={"name": "random", "ratio": 0.99})
    assert message == (
        "masking.ratio: ratio 0.99 hides all 16 patches: at most 0.9375 keeps one of them"
    )


def test_an_encoder_of_kept_patches_needs_equal_counts(studies) -> None:
    masking = {"name": "block_unrepaired", "ratio": 0.5, "min_area": 1}
    message = refused(studies, "block_unrepaired", masking=masking)
    start, _, legal = message.partition("; take another masking (")
    assert start == (
        "masking.name: block_unrepaired hides a different number of patches in each image, but "
        "equally many must be kept in each by the objective mae"
    )
    maskings, objectives = legal.removesuffix(")").split(") or another objective (")
    assert {"block", "random"} <= set(maskings.split(", "))
    assert not {"block_unrepaired", "ibot_block"} & set(maskings.split(", "))
    assert "simmim" in objectives and "mae" not in objectives.split(", ")
    assert studies.trials(studies.text(masking=masking, objective={"name": "simmim"}))


def test_mask_tokens_among_kept_patches_need_one_in_the_encoder(studies) -> None:
    masking = {"name": "uniform_cells"}
    message = refused(studies, "objective", masking=masking)
    assert message == (
        "objective.encoder_mask_token: uniform_cells covers kept patches by mask tokens in the "
        "encoder: set encoder_mask_token to true"
    )
    mae = {"name": "mae", "decoder_width": 16, "decoder_depth": 1, "decoder_heads": 2}
    asked = mae | {"encoder_mask_token": True}
    for sections in (
        {"masking": masking, "objective": asked},
        {"masking": masking, "objective": {"name": "simmim"}},
        {"masking": masking | {"secondary": 0}},
    ):
        assert studies.trials(studies.text(**sections))


def test_an_encoder_that_cannot_have_mask_tokens_takes_no_masking_that_needs_them() -> None:
    class Without(Mae):
        @classmethod
        def takes_replaced(cls) -> TakesReplaced:
            return "never"

    assert pairing_problem(Without, Mage) == (
        "covers kept patches by mask tokens in the encoder, which is not done by the objective"
    )
    assert pairing_problem(Mae, Mage) is None
    assert pairing_problem(SimMim, Mage) is None


@pytest.mark.parametrize(("accumulate", "workers"), [(3, 1), (1, 3), (3, 2)])
def test_a_batch_must_divide_into_micro_batches(studies, accumulate: int, workers: int) -> None:
    train = {"budget": {"epochs": 1}, "batch_size": 64, "accumulate": accumulate}
    message = refused(studies, "batch_size", train=train, resources={"workers": workers})
    parts = accumulate * workers
    assert message == (
        f"train.batch_size: 64 images do not divide into {parts} equal micro-batches (accumulate "
        f"{accumulate} × workers {workers}); {64 // parts * parts} or {(64 // parts + 1) * parts} "
        "would"
    )


GMML = {"objective": {"name": "gmml"}, "masking": {"name": "groups"}}


def test_workers_must_not_part_images_that_are_taken_together(studies) -> None:
    train = {"budget": {"epochs": 1}, "batch_size": 66, "accumulate": 11}
    message = refused(studies, "batch_size", **GMML, train=train, resources={"workers": 2})
    assert message == (
        "train.batch_size: 66 images on 2 workers are 33 each, but groups takes every 2 in a row "
        "together; 44 or 88 would do"
    )


@pytest.mark.parametrize(
    ("masking", "batch_size", "workers"),
    [({}, 65, 1), ({}, 68, 2), ({"replace_probability": 0.0}, 66, 2)],
)
def test_images_that_stay_together_are_fine(
    studies, masking: dict[str, Any], batch_size: int, workers: int
) -> None:
    train = {"budget": {"epochs": 1}, "batch_size": batch_size}
    changed = GMML | {"masking": GMML["masking"] | masking}
    assert studies.trials(studies.text(**changed, train=train, resources={"workers": workers}))


@pytest.mark.parametrize(
    ("stopping", "word", "sentence"),
    [
        (
            {"metric": "probe/knn/top2"},
            "metric",
            "probe/knn/top2 cannot rank trials while they run; of the probes there are "
            "probe/knn/top1",
        ),
        (
            {"metric": "probe/linear/top1"},
            "metric",
            "probe/linear/top1 is measured only at the end; give its probe `every_epochs`",
        ),
        (
            {"metric": "train/loss"},
            "metric",
            "train/loss cannot rank trials while they run; of the probes there are probe/knn/top1",
        ),
        (
            {"metric": "probe/knn/top1", "grace_epochs": 10},
            "grace_epochs",
            "10 is not below the budget of 10 epochs; nothing would ever stop",
        ),
    ],
)
def test_stopping_needs_a_metric_that_is_measured_in_time(
    studies, stopping: dict, word: str, sentence: str
) -> None:
    probes = [{"name": "knn", "every_epochs": 5}, {"name": "linear", "at": "end"}]
    sweep = {"stopping": {"name": "asha"} | stopping}
    message = refused(studies, word, probes=probes, sweep=sweep)
    assert message == f"sweep.stopping.{word}: {sentence}"


@pytest.mark.parametrize("kind", ["knn", "finetune"])
def test_a_class_token_that_is_not_there(studies, kind: str) -> None:
    backbone = {
        "name": "vit_base_patch16_siglip_224",
        "patch_size": 4,
        "embed_dim": 32,
        "depth": 1,
        "num_heads": 2,
    }
    probes = [{"name": kind, "at": "end", "pool": "cls"}]
    text = studies.text(backbone=backbone, probes=probes)
    assert studies.refusal(text) == (
        f"{studies.line(text, 'pool')}: probes.0.pool: vit_base_patch16_siglip_224 has no class "
        "token; use `pool: mean`"
    )


def test_illegal_points_are_named_and_can_be_excluded(studies) -> None:
    sweep: dict[str, Any] = {
        "axes": {"masking.name": ["random", "block"], "masking.ratio": [0.25, 0.75]},
        "when": [{"if": {"masking.name": "block"}, "axes": {"masking.min_area": [6]}}],
        "seeds": [0, 1],
    }
    text = studies.text(sweep=sweep)
    exclude = "{masking.name: block, masking.ratio: 0.25, masking.min_area: 6}"
    assert studies.refusal(text) == (
        f"{studies.line(text, '- 6')}: masking.min_area: min_area 6 exceeds the 4 patches that "
        "ratio 0.25 hides on a 4×4 grid: lower min_area or raise ratio (at masking.name=block, "
        f"masking.ratio=0.25, masking.min_area=6); or leave it out with `exclude: [{exclude}]`"
    )
    sweep["exclude"] = [{"masking.name": "block", "masking.ratio": 0.25}]
    assert len(studies.trials(studies.text(sweep=sweep))) == 3 * 2


def test_problems_of_several_points_and_sections_come_together(studies) -> None:
    sweep = {"axes": {"data.image_size": [16, 17], "train.batch_size": [64, 65]}}
    train = {"budget": {"epochs": 1}, "batch_size": 64, "accumulate": 2}
    lines = studies.refusal(studies.text(train=train, sweep=sweep)).splitlines()
    assert len(lines) == 2
    assert "train.batch_size: 65 images do not divide into 2" in lines[0]
    assert "data.image_size: 17 px is no multiple of the 4 px patch; 16 or 20 is" in lines[1]
    assert "data.image_size=17, train.batch_size=64; data.image_size=17, train.batch" in lines[1]


def test_a_signal_that_nobody_supplies(studies) -> None:
    masking = {"name": "attmask", "probability": 1.0}
    message = refused(studies, "attmask", masking=masking)
    assert message.startswith(
        "masking.name: attmask needs teacher_attention, which is not supplied by the objective mae"
    )
    assert "hpm" in message.rpartition("another objective (")[2]


def test_a_degradation_that_the_objective_does_not_undo(studies) -> None:
    message = refused(studies, "frequency", masking={"name": "frequency"})
    assert message.startswith(
        "masking.name: frequency removes frequencies, which is not what is undone by the objective "
        "mae; take another masking ("
    )
    assert "mfm" in message.rpartition("another objective (")[2]


def test_buckets_that_do_not_divide_the_grid(studies) -> None:
    trial = {"objective": {"name": "ropim"}, "masking": {"name": "projection"}}
    message = refused(studies, "masking:", **trial)
    assert message == (
        "masking.bucket: 16 patches do not divide into several buckets of 7; 2 or 4 or 8 would"
    )


def test_a_masking_that_follows_a_map_needs_one(studies) -> None:
    message = refused(studies, "name: prior", masking={"name": "prior", "ratio": 0.5})
    assert message == (
        "masking.name: prior follows a map of each image: make it with `mimlab data maps` and name "
        "its sidecar, data.sidecars: {prior: FOLDER}"
    )


def test_every_number_of_workers_of_a_range_must_divide_a_batch(studies) -> None:
    workers = {"workers": {"min": 1, "max": 4}}
    message = refused(studies, "batch_size", train=train_of(64), resources=workers)
    assert message == (
        "train.batch_size: 64 images do not divide into 3 equal micro-batches (accumulate 1 × "
        "workers 3); 60 or 72 would, on 1 to 4 workers"
    )
    assert studies.trials(studies.text(train=train_of(72), resources=workers))
    few = {"workers": {"min": 1, "max": 2}}
    assert studies.trials(studies.text(train=train_of(64), resources=few))


def test_no_number_of_workers_may_part_images_that_are_taken_together(studies) -> None:
    workers = {"workers": {"min": 1, "max": 2}}
    message = refused(studies, "batch_size", **GMML, train=train_of(66), resources=workers)
    assert message == (
        "train.batch_size: 66 images on 2 workers are 33 each, but groups takes every 2 in a row "
        "together; 64 or 68 would do"
    )


def train_of(batch_size: int) -> dict[str, Any]:
    return {"budget": {"epochs": 1}, "batch_size": batch_size}


@pytest.mark.parametrize(
    ("workers", "word", "message"),
    [
        ({"min": 4, "max": 2}, "max", "resources.workers.max: should be at least min, 4; found 2"),
        ({"min": 2}, "workers", "resources.workers.max: is missing and has no default: As many as"),
        ({"max": 0}, "max", "resources.workers.max: should be greater than or equal to 1; found 0"),
        ({"max": 2, "mni": 1}, "mni", "resources.workers.mni: unknown key; did you mean `min`?"),
        ("two", "workers", 'resources.workers: should be a whole number; found "two"'),
        (0, "workers", "resources.workers: should be greater than or equal to 1; found 0"),
    ],
)
def test_a_wrong_number_of_workers_is_one_error(studies, workers, word: str, message: str) -> None:
    said = refused(studies, word, resources={"workers": workers})
    assert said.startswith(message)
