from __future__ import annotations

import torch

from mimlab_objectives.targets.pixels import patchify
from mimlab_objectives.tokenizers.patches import PatchMeans


def test_means_are_those_of_a_loop_in_any_batches() -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(10, 3, 16, 16, generator=generator)
    codes = torch.randint(6, (10, 16), generator=generator)  # the last of 7 has no patch
    together, apart = PatchMeans(7, 4), PatchMeans(7, 4)
    together.add(images, codes)
    for rows in torch.arange(10).flip(0).split(3):
        apart.add(images[rows], codes[rows])
    patches = patchify(images, 4)
    for code in range(6):
        torch.testing.assert_close(together.means()[code], patches[codes == code].mean(0))
        assert int(together.counts[code]) == int((codes == code).sum())
    assert torch.equal(together.means()[6], torch.zeros(48))
    assert torch.equal(together.means(), apart.means())
    assert torch.equal(together.counts, apart.counts)


def test_images_of_another_size_have_larger_patches_of_the_same_codes() -> None:
    codes = torch.arange(16).view(1, 16)
    small = codes.view(1, 1, 4, 4).float().expand(1, 3, 4, 4)
    for side in (1, 2, 5):
        means = PatchMeans(16, side)
        means.add(small.repeat_interleave(side, 2).repeat_interleave(side, 3), codes)
        assert torch.equal(means.means(), torch.arange(16.0)[:, None].expand(16, 3 * side**2))
