"""Eight-bit networks: making them, from float32 ones or from the integers of other programs."""

from .post_training import quantize
from .report import Agreement, LayerReport, Quantised

__all__ = ["Agreement", "LayerReport", "Quantised", "quantize"]
