"""`train:` of a study: budget, batches, optimizer, checkpoints."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from mimlab.spec.section import NotIdentity, OneOf, Section, at_field

Precision = Literal["fp32", "bf16", "fp16"]


class Budget(OneOf):
    """When a trial ends: exactly one of these.

    Tokens and hours become steps once, when the study is submitted (`mimlab.search.frozen`).
    """

    epochs: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    """Passes over the training split."""
    images: int | None = Field(default=None, ge=1)
    """Images read, each view counted."""
    steps: int | None = Field(default=None, ge=1)
    """Optimizer steps."""
    visible_tokens: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    """Patches that are not hidden, over all images and masks; becomes steps at submission."""
    gpu_hours: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    """Hours of training × GPUs of a trial; becomes steps at submission, by a measured step."""
    cpu_hours: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    """The same in hours × CPU cores, for trials that have no GPU."""

    @property
    def asked(self) -> dict[str, float]:
        """The key that is given, and its value."""
        return {name: float(value) for name, value in self if value is not None}

    @property
    def in_hours(self) -> bool:
        """Whether steps must be measured to know how many it buys."""
        return self.gpu_hours is not None or self.cpu_hours is not None


class OptimizerConfig(Section):
    """The optimizer; its learning rate is `base_lr` × batch_size ÷ 256."""

    name: Literal["adamw"] = "adamw"
    """`adamw` is the only one."""
    base_lr: float = Field(default=1.5e-4, gt=0, allow_inf_nan=False)
    """Peak learning rate at batch size 256; it grows with the batch size."""
    weight_decay: float = Field(default=0.05, ge=0, allow_inf_nan=False)
    """Decay of matrices; biases, norms, tokens and positions are not decayed."""
    weight_decay_end: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    """Decay at the end of the budget, reached along half a cosine (I-JEPA, GMML); null: no change.
    """
    betas: tuple[
        Annotated[float, Field(ge=0, lt=1)],
        Annotated[float, Field(ge=0, lt=1)],
    ] = (0.9, 0.95)
    """Decay of the running means of gradient and squared gradient."""


class CheckpointConfig(Section):
    """How often a trial can be resumed from, and what is kept."""

    every_epochs: float = Field(default=5.0, gt=0, allow_inf_nan=False)
    """Epochs between checkpoints; the last step always has one."""
    keep_last: int = Field(default=2, ge=1)
    """Newest checkpoints kept."""
    keep_best: int = Field(default=1, ge=0)
    """Best checkpoints kept besides, by the first probe."""


class TrainConfig(Section):
    """How a trial trains."""

    budget: Budget
    """When it ends. The learning rate follows a cosine to that point."""
    batch_size: int = Field(ge=1)
    """Images of one optimizer step, over all workers and micro-batches."""
    accumulate: int = Field(default=1, ge=1)
    """Micro-batches in which each worker computes its share of a step, to save memory."""
    optimizer: OptimizerConfig = OptimizerConfig()
    """AdamW and its settings."""
    warmup_epochs: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    """Epochs in which the learning rate rises linearly from 0."""
    min_lr: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    """Learning rate at the end of the cosine."""
    clip_norm: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    """Largest norm of the gradient; null does not clip."""
    precision: Precision = "fp32"
    """Arithmetic of the forward pass; weights and optimizer stay in fp32."""
    deterministic: Annotated[bool, NotIdentity()] = False
    """On GPUs: only kernels that give the same bits each time, which are slower and do not exist
    for everything. On a CPU all of them do."""
    log_every: Annotated[int, NotIdentity()] = Field(default=10, ge=1)
    """Steps between two points of the training curves."""
    checkpoint: Annotated[CheckpointConfig, NotIdentity()] = CheckpointConfig()
    """How often a trial can be resumed from, and what is kept."""

    @model_validator(mode="after")
    def _warmup_ends(self) -> TrainConfig:
        epochs = self.budget.epochs
        if epochs is not None and self.warmup_epochs >= epochs:
            raise at_field(
                "warmup_epochs",
                f"warms up for {self.warmup_epochs:g} of {epochs:g} epochs; "
                "it must be shorter than the budget",
            )
        return self
