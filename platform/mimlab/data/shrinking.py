"""Making large images smaller at import, so that every later reading decodes less."""

from __future__ import annotations

import io

from PIL import Image

from mimlab.data.checking import Checked, upright_image

JPEG_QUALITY = 95
"""With full chroma resolution, as where an orientation is applied."""

MAX_JPEG_SIDE = 65_500
"""Of libjpeg (JPEG_MAX_DIMENSION); longer strips become PNG."""


def shrunk(image: Checked, data: bytes, short_side: int) -> Checked:
    """The image with `short_side` pixels on its shorter side, if that was longer; else as it is.

    `data` is what the source holds, so that no pixel is lossily encoded twice. The longer side
    keeps the proportions to half a pixel. Filter: Pillow's bicubic, which widens its support when
    it shrinks, and so does not alias.
    """
    if min(image.width, image.height) <= short_side:
        return image
    scale = short_side / min(image.width, image.height)
    width, height = (max(short_side, round(side * scale)) for side in (image.width, image.height))
    small = upright_image(data).resize((width, height), Image.Resampling.BICUBIC)
    out = io.BytesIO()
    if max(width, height) <= MAX_JPEG_SIDE:
        small.save(out, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    else:
        small.save(out, "PNG")
    reasons = [image.conversion, f"short side {short_side}"]
    return Checked(out.getvalue(), width, height, " + ".join(filter(None, reasons)))
