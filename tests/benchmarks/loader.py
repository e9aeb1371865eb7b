"""Images/s of a torch DataLoader with torchvision transforms, in a process of its own.

`python -m benchmarks.loader <folder of images> <workers>`: the peer of the stream, as its users
run it, without a Ray in the process that it forks.
"""

from __future__ import annotations

import io
import subprocess
import sys
import warnings
from pathlib import Path

import PIL.Image
import torch
from torchvision import transforms

from benchmarks.measuring import rate

BATCH, SIZE = 128, 224
SCALE = (0.2, 1.0)


class Files(torch.utils.data.Dataset):
    """Images in memory, decoded by Pillow and cropped as torchvision's users do it."""

    def __init__(self, images: list[bytes]) -> None:
        self._images = images
        self._transform = transforms.Compose(
            [
                transforms.RandomResizedCrop(
                    SIZE, SCALE, interpolation=transforms.InterpolationMode.BICUBIC
                ),
                transforms.RandomHorizontalFlip(),
                transforms.PILToTensor(),
            ]
        )

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> torch.Tensor:
        image = PIL.Image.open(io.BytesIO(self._images[index])).convert("RGB")
        return torch.as_tensor(self._transform(image))


def loader_rate(folder: Path, workers: int) -> float:
    """Measured in a new process."""
    command = [sys.executable, "-m", "benchmarks.loader", str(folder), str(workers)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def _rate(folder: Path, workers: int) -> float:
    files = Files([file.read_bytes() for file in sorted(folder.rglob("*.JPEG"))])
    loader = torch.utils.data.DataLoader(
        files, BATCH, shuffle=True, num_workers=workers, drop_last=True
    )
    batches = iter(loader)
    next(batches)
    return rate(len(batch) for batch in batches)


if __name__ == "__main__":
    # More workers than cores are asked for on purpose.
    warnings.filterwarnings("ignore", "This DataLoader will create")
    print(_rate(Path(sys.argv[1]), int(sys.argv[2])))
