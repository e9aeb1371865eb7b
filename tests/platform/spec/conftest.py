"""A small study, ways to change it, and the message of one that is refused."""

import copy
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from mimlab.errors import UserError
from mimlab.spec.checks import legal_trials
from mimlab.spec.expand import Trial
from mimlab.spec.load import LoadedStudy, load_study

STUDY: dict[str, Any] = {
    "study": "small",
    "question": "Does it load?",
    "data": {"images": "digits", "image_size": 16},
    "backbone": {
        "name": "vit_tiny_patch16_224",
        "patch_size": 4,
        "embed_dim": 32,
        "depth": 1,
        "num_heads": 2,
    },
    "objective": {"name": "mae", "decoder_width": 16, "decoder_depth": 1, "decoder_heads": 2},
    "target": {"name": "pixels", "norm": "patch"},
    "masking": {"name": "random", "ratio": 0.75},
    "train": {"budget": {"epochs": 10}, "batch_size": 64},
    "probes": [{"name": "knn", "every_epochs": 5}],
}


class Studies:
    """Writes studies to one folder and reads them back."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def text(self, **sections: Any) -> str:
        """YAML of the small study, with some sections replaced; a key a line."""
        content = sections if "study" in sections else copy.deepcopy(STUDY) | sections
        stream = io.StringIO()
        yaml = YAML(typ="safe", pure=True)
        yaml.default_flow_style = False
        yaml.sort_base_mapping_type_on_output = False  # pyright: ignore[reportAttributeAccessIssue]
        yaml.dump(content, stream)
        return stream.getvalue()

    @staticmethod
    def line(text: str, word: str) -> str:
        """`study.yaml:7`, for the one line of a text that holds a word."""
        (number,) = [n for n, line in enumerate(text.splitlines(), 1) if word in line]
        return f"study.yaml:{number}"

    def load(
        self, text: str, preset: str | None = None, overrides: Sequence[str] = ()
    ) -> LoadedStudy:
        file = self.folder / "study.yaml"
        file.write_text(text)
        return load_study(file, preset, overrides)

    def trials(
        self, text: str, preset: str | None = None, overrides: Sequence[str] = ()
    ) -> list[Trial]:
        """Every step up to the checked trials."""
        return legal_trials(self.load(text, preset, overrides))

    def refusal(self, text: str, preset: str | None = None, overrides: Sequence[str] = ()) -> str:
        """What a user reads, the folder left out."""
        with pytest.raises(UserError) as caught:
            self.trials(text, preset, overrides)
        return str(caught.value).replace(f"{self.folder}/", "")


@pytest.fixture(scope="session")
def studies(tmp_path_factory: pytest.TempPathFactory) -> Studies:
    return Studies(tmp_path_factory.mktemp("studies"))
