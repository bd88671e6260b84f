"""What a network's logits say: classes with probabilities, by softmax or by sigmoid."""

from __future__ import annotations

from .errors import UnsupportedError
from .untyped import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .executors.executor import Executor
    from .model import Outline
    from .network.layer import Network

DEFAULT_THRESHOLD = 0.5  # a caller's; an object that scores less is left out


def refuse_detector(network: Network | Outline, what: str) -> None:
    """Raise UnsupportedError, naming `detect`, where a caller asks a detector for `what`."""
    if network.answer == "boxes":
        raise UnsupportedError(
            f"{network.name} is a detector, which has no {what}; `detect` gives objects with boxes"
        )


def check_answers(network: Network | Outline) -> None:
    """Raise UnsupportedError, naming what to call instead, unless a network names classes."""
    refuse_detector(network, "classes of the whole image")
    if not network.classes:
        raise UnsupportedError(
            f"{network.name} has no classifier, so there is nothing to predict; its pooled "
            "features are what `embed` gives"
        )
    if network.answer == "linear":
        raise UnsupportedError(
            f"{network.name} answers with numbers, not with classes; `logits` gives them"
        )


def top_k(
    network: Network | Outline, executor: Executor, logits: Any, k: int
) -> Sequence[tuple[int, float]]:
    """(index, probability) of the `k` most probable classes, most probable first, ties to the
    lower index.

    By softmax the probabilities of all classes add up to 1. By sigmoid each is by itself; one
    output alone is the probability of class 1, and what is missing to 1 is that of class 0.
    """
    if network.answer == "softmax":
        return executor.top_k(logits, k)
    shares = [sigmoid(logits[index]) for index in range(network.classes)]
    if len(shares) == 1:
        shares = [1.0 - shares[0], shares[0]]
    order = sorted(range(len(shares)), key=lambda index: -shares[index])
    return [(index, shares[index]) for index in order[:k]]


def sigmoid(x: float) -> float:
    """1 / (1 + exp(-x)), without overflow."""
    from math import exp

    x = float(x)
    if x >= 0:
        return 1.0 / (1.0 + exp(-x))
    grown = exp(x)
    return grown / (1.0 + grown)
