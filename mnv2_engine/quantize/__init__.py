"""Smaller model files of float ones: eight-bit networks, and narrow classifiers."""

from .classifier import Narrowed, narrow_classifier
from .post_training import quantize
from .report import Agreement, LayerReport, Quantised

__all__ = [
    "Agreement",
    "LayerReport",
    "Narrowed",
    "Quantised",
    "narrow_classifier",
    "quantize",
]
