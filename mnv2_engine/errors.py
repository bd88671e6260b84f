"""The one error hierarchy. Every message says what was given, what was expected and what to do."""

from __future__ import annotations


def shown(text: str) -> str:
    """`text` on one line, with control characters escaped: names and labels come from strangers."""
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text
    )


class MnvError(Exception):
    """Base of everything this package raises on purpose. Its text is one line without control
    characters, whatever the file or the request holds that it quotes: fit for a log."""

    def __init__(self, *given: object) -> None:
        super().__init__(*(shown(each) if isinstance(each, str) else each for each in given))


class ModelFileError(MnvError, ValueError):
    """A model file is damaged, hostile, of a newer format, or not a model file at all."""


class CheckpointError(MnvError, ValueError):
    """A source checkpoint cannot be read, or does not hold the network that its names promise."""


class InputError(MnvError, ValueError):
    """An image, an array or an option does not fit what the call expects."""


class UnsupportedError(MnvError):
    """The input is well formed, but asks for something that this engine does not do."""


class MissingExtraError(MnvError, ImportError):
    """An optional dependency is needed and absent; the message names the extra that brings it."""


def missing_extra(package: str, extra: str, purpose: str) -> MissingExtraError:
    """The error for an optional `package` that is absent, naming the `extra` that brings it."""
    return MissingExtraError(
        f"{purpose} needs {package}, which is not installed; "
        f'run: pip install "mnv2-engine[{extra}]"'
    )
