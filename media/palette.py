"""Makes PNG pictures small: a palette instead of sixteen million colours (needs ffmpeg)."""

from __future__ import annotations

import subprocess


def with_palette(png: bytes, *, colours: int) -> bytes:
    """The same picture with at most so many colours, without dithering."""
    palette = f"split[a][b];[a]palettegen=max_colors={colours}:reserve_transparent=1[p];[b][p]"
    command = ["ffmpeg", "-v", "error", "-f", "png_pipe", "-i", "-"]
    command += ["-vf", f"{palette}paletteuse=dither=none"]
    command += ["-f", "image2pipe", "-c:v", "png", "-"]
    return subprocess.run(command, input=png, capture_output=True, check=True).stdout
