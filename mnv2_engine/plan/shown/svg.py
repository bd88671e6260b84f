"""The few SVG elements that drawings need, as text. Lengths are in the drawing's own pixels."""

from __future__ import annotations

from html import escape

LABEL = 10  # font size of the class "label"
# Widths in font sizes, those of a wide sans serif: of a letter or figure, and of the widest here.
LETTER, WIDE_LETTER, WIDE = 0.62, 0.84, "×→mw"


def element(tag: str, content: str = "", **attributes: object) -> str:
    """An element with `content`, which is SVG already, and those attributes that are not empty;
    `class_` is class."""
    given = "".join(
        f' {name.rstrip("_")}="{escape(_plain(value))}"'
        for name, value in attributes.items()
        if value != ""
    )
    return f"<{tag}{given}>{content}</{tag}>" if content else f"<{tag}{given}/>"


def titled(title: str) -> str:
    """What readers hear, and see under the pointer, of the element that holds it."""
    return element("title", escape(title))


def document(
    title: str, description: str, style: str, size: tuple[int, int], parts: list[str]
) -> str:
    """A standalone drawing of (width, height) with a style sheet, on a page of its own colour."""
    width, height = size
    whole = [
        titled(title),
        element("desc", escape(description)),
        element("style", escape(style, quote=False)),
        rect("page", 0, 0, width, height),
        *parts,
    ]
    content = "\n" + "\n".join(whole) + "\n"
    namespace, box = "http://www.w3.org/2000/svg", f"0 0 {width} {height}"
    return element("svg", content, xmlns=namespace, viewBox=box, role="img") + "\n"


def rect(
    class_: str, x: float, y: float, width: float, height: float, content: str = "", **more: object
) -> str:
    """A rectangle, with `content` inside its element."""
    return element("rect", content, class_=class_, x=x, y=y, width=width, height=height, **more)


def line(class_: str, x1: float, y1: float, x2: float, y2: float) -> str:
    """A straight line."""
    return element("line", class_=class_, x1=x1, y1=y1, x2=x2, y2=y2)


def text(class_: str, x: float, y: float, words: str, upwards: bool = False) -> str:
    """Words with their baseline at y, or at x if they run upwards."""
    turn = f"rotate(-90 {_plain(x)} {_plain(y)})" if upwards else ""
    return element("text", escape(words), class_=class_, x=x, y=y, transform=turn)


def label(labels: list[list[str]], x: float, y: float, width: float, height: float) -> list[str]:
    """The first of the labels, each some lines, that fits into the rectangle, along it or upwards;
    nothing if none does."""
    x, y = x + width / 2, y + height / 2
    for lines in labels:
        long = max(text_width(words, LABEL) for words in lines) + 2
        high = (LABEL + 2) * len(lines)
        upwards = long > width or high > height
        if upwards and (long > height or high > width):
            continue
        parts = []
        for i, words in enumerate(lines):
            down = LABEL * 0.36 + (LABEL + 2) * (i - (len(lines) - 1) / 2)  # of the baseline
            at = (x + down, y) if upwards else (x, y + down)
            parts.append(text("label middle", *at, words, upwards))
        return parts
    return []


def text_width(words: str, size: float) -> float:
    """About the pixels that words take at most; no font is at hand to measure them with."""
    wide = sum(letter in WIDE for letter in words)
    return (wide * WIDE_LETTER + (len(words) - wide) * LETTER) * size


def _plain(value: object) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
