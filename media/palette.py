"""Makes PNG pictures small: a palette instead of sixteen million colours."""

from __future__ import annotations

import io

from PIL import Image


def with_palette(png: bytes, *, colours: int) -> bytes:
    """The same picture with at most so many colours, without dithering."""
    picture = Image.open(io.BytesIO(png)).convert("RGBA")
    if picture.getchannel("A").getextrema() == (255, 255):  # nothing shines through
        picture = picture.convert("RGB")
    method = Image.Quantize.MEDIANCUT if picture.mode == "RGB" else Image.Quantize.FASTOCTREE
    small = picture.quantize(colours, method=method, dither=Image.Dither.NONE)
    file = io.BytesIO()
    small.save(file, "PNG", optimize=True)
    return file.getvalue()
