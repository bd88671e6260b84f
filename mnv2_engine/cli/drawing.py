"""Boxes with labels, drawn on a photograph by Pillow."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..errors import InputError, shown
from ..images.preprocess import load_image
from ..model.whole_file import write_whole

if TYPE_CHECKING:
    from ..detect.found import Detection

# Colours that can be told apart, also by the colour-blind (Okabe and Ito).
COLOURS = ("#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7")


def check_name(out: str) -> None:
    """Raise InputError unless a drawing may have this name."""
    if not out.lower().endswith(".png"):
        raise InputError(f"--draw {out}: a drawing is a PNG; give a name that ends in .png")


def draw_objects(photo: Any, objects: Sequence[Detection], out: str) -> None:
    """Write the PNG `out`: `photo`, upright, with the box, the label and the score of each object,
    the best on top. Raises InputError for what is no photograph, MnvError if it cannot be
    written."""
    from PIL import ImageDraw, ImageFont

    image = load_image(photo).copy()
    draw = ImageDraw.Draw(image)
    size = max(12, min(image.size) // 32)
    font = ImageFont.load_default(size)
    for found in reversed(objects):
        colour = COLOURS[found.index % len(COLOURS)]
        draw.rectangle(tuple(found.box), outline=colour, width=max(2, size // 6))
        text = f"{shown(found.label)[:60]} {found.score:.0%}"
        left, top, right, bottom = draw.textbbox((found.box.left, found.box.top), text, font)
        above = max(found.box.top - (bottom - top) - 4, 0)
        draw.rectangle((left, above, right + 4, above + bottom - top + 4), fill=colour)
        draw.text((left + 2, above + 2 - (top - found.box.top)), text, "black", font)
    encoded = io.BytesIO()
    image.save(encoded, "PNG")
    content = encoded.getvalue()
    write_whole(out, "a drawing", len(content), lambda file: file.write(content))
