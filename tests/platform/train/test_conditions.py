"""What a resume cannot reproduce is named; what it can is not."""

from __future__ import annotations

import pytest
import torch

from mimlab.storage.records import Conditions
from mimlab.train.conditions import SUMS, UNKNOWN, conditions_of, differences
from mimlab.train.config import TrainConfig
from mimlab.train.determinism import no_such_kernel, use_deterministic_kernels

CPU = torch.device("cpu")
HERE = Conditions(
    workers=2,
    device="cpu: Some processor, AVX2",
    threads=4,
    precision="fp32",
    tf32=False,
    deterministic=True,
    packages={"torch": "2.13.0", "timm": "1.0.20"},
)


def config() -> TrainConfig:
    return TrainConfig.model_validate({"budget": {"steps": 1}, "batch_size": 4})


def test_nothing_differs_in_the_same_place() -> None:
    assert differences(HERE, HERE, drops=True) == []
    here = conditions_of(config(), CPU, 2)
    assert differences(here, conditions_of(config(), CPU, 2), drops=False) == []
    assert here.device.startswith("cpu: ") and here.threads == torch.get_num_threads()
    assert here.packages["torch"] == str(torch.__version__)
    assert Conditions.model_validate_json(here.to_bytes()) == here


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"workers": 4}, f"workers 2 → 4: {SUMS}"),
        ({"device": "cpu: Another, AVX512"}, f"device {HERE.device} → cpu: Another, AVX512"),
        ({"threads": 1}, "threads 4 → 1"),
        ({"precision": "bf16"}, "precision fp32 → bf16"),
        ({"tf32": True}, "tf32 false → true"),
        ({"packages": {"torch": "2.14.0", "timm": "1.0.20"}}, "torch 2.13.0 → 2.14.0"),
        ({"packages": {"torch": "2.13.0"}}, "timm 1.0.20 → none"),
    ],
)
def test_each_difference_is_a_sentence(changed: dict, said: str) -> None:
    assert differences(HERE, HERE.model_copy(update=changed), drops=False) == [said]


def test_what_is_dropped_is_drawn_by_rank() -> None:
    more = HERE.model_copy(update={"workers": 4})
    assert differences(HERE, more, drops=True) == [
        f"workers 2 → 4: {SUMS}, nor what is dropped at random"
    ]


def test_a_gpu_is_exact_only_with_kernels_that_are() -> None:
    gpu = HERE.model_copy(update={"device": "cuda: NVIDIA H200"})
    assert differences(gpu, gpu, drops=False) == []
    free = gpu.model_copy(update={"deterministic": False})
    (said,) = differences(free, free, drops=False)
    assert said.startswith("train.deterministic is false: ")


def test_a_checkpoint_that_does_not_say_proves_nothing() -> None:
    assert differences(None, HERE, drops=False) == [UNKNOWN]


def test_a_cpu_needs_no_other_kernels() -> None:
    use_deterministic_kernels(CPU)
    assert not torch.are_deterministic_algorithms_enabled()
    assert conditions_of(config(), CPU, 1).deterministic


def test_an_operation_without_such_a_kernel_is_the_end_with_a_remedy() -> None:
    torch.use_deterministic_algorithms(True)
    try:
        with pytest.raises(RuntimeError) as caught:
            torch.zeros(4).put_(torch.tensor([1, 1]), torch.tensor([1.0, 2.0]))
    finally:
        torch.use_deterministic_algorithms(False)
    end = no_such_kernel(caught.value)
    assert end is not None and end.state == "failed" and "\n" not in str(end)
    assert str(end).endswith("; `train: {deterministic: false}` trains without")
    assert no_such_kernel(RuntimeError("shapes do not match")) is None
