"""From the numbers of a detector's heads to objects: boxes, scores, and which of them remain.

`decoding.py` and `suppression.py` are the definition, in NumPy and in the order of arithmetic of
TensorFlow's detection API; the C core computes the same and is compared with it. `found.py` has
what a caller gets.
"""
