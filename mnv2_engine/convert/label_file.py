"""Label files: UTF-8 text, one label a line, in the order of the classes."""

from __future__ import annotations

from ..errors import MnvError

MAX_LABEL_BYTES = 32 << 20


def parse_labels(content: bytes, what: str, error: type[MnvError]) -> tuple[str, ...]:
    """The labels in the bytes of a file, one for each line.

    Lines that all begin with their own number, counted from 0, lose it ("0  background", "1
    tench"). Empty lines at the end do not count. Raises `error` for anything but UTF-8 text, and
    for an empty line between others. `what` names the file in messages.
    """
    if len(content) > MAX_LABEL_BYTES:
        raise error(f"{what}: larger than {MAX_LABEL_BYTES} bytes: expected one label a line")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as reason:
        raise error(
            f"{what}: byte {reason.start} is not UTF-8 text: expected one label a line"
        ) from None
    labels = [line.strip().replace("\t", " ") for line in text.split("\n")]
    while labels and not labels[-1]:
        labels.pop()
    if not labels:
        raise error(f"{what}: no labels: expected one a line")
    for number, label in enumerate(labels):
        if not label.isprintable() or not label:
            raise error(
                f"{what}: line {number + 1} is empty or not printable: expected one label a line"
            )
    numbered = [label.split(None, 1) for label in labels]
    if all(len(parts) == 2 and parts[0] == str(i) for i, parts in enumerate(numbered)):
        labels = [parts[1] for parts in numbered]
    return tuple(labels)
