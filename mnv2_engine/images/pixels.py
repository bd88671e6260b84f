"""What a caller hands over, as contiguous pixels of the network's own size.

Anything with the buffer protocol is read without numpy; Pillow is imported only for encoded
images.
"""

from __future__ import annotations

import sys

from ..errors import InputError
from ..untyped import TYPE_CHECKING, Any, Iterable, Iterator, NamedTuple
from .limits import DEFAULT, Borrow, Decoding

if TYPE_CHECKING:
    from ..model.input_spec import InputSpec
    from ..model.modelfile import ModelFile

_UINT8 = ("B", "<B", "=B", "@B", "|B")
_FLOAT32 = ("f", "<f", "=f", "@f") if sys.byteorder == "little" else ("f", "=f", "@f")

CHANNELS = 3  # red, green, blue

ARRAYS = "pixels in an array or any buffer of shape (N, height, width, 3) or (height, width, 3)"
IMAGES = (
    "a path, bytes of an encoded image, a PIL.Image, or pixels in an array or any buffer of shape "
    "(height, width, 3)"
)


class Batch(NamedTuple):
    """Images of one shape, contiguous in C order."""

    view: Any  # memoryview of (count, H, W, 3)
    is_float: bool  # normalised float32; else uint8 pixels

    def images(self) -> Iterator[Any]:
        """The images one by one, not copied."""
        count = len(self.view)
        if count == 0:
            return
        size = self.view.nbytes // count
        flat = self.view.cast("B")
        for start in range(0, size * count, size):
            yield flat[start : start + size].cast(self.view.format[-1:], self.view.shape[1:])

    def parts(self, most: int) -> Iterator[tuple[Any, int]]:
        """At most `most` images at a time, not copied, and the number of the first."""
        count = len(self.view)
        if count == 0:
            return
        size = self.view.nbytes // count
        flat = self.view.cast("B")
        for first in range(0, count, most):
            part = flat[first * size : min(first + most, count) * size]
            yield part.cast(self.view.format[-1:], (len(part) // size, *self.view.shape[1:])), first


def whole_batch(source: object, resolution: tuple[int, int]) -> Batch | None:
    """uint8 images of the network's own size in one array, (N, H, W, 3); None for all else."""
    if isinstance(source, (list, tuple)) or _is_encoded(source) or _is_pillow(source):
        return None
    view = _view(source)
    if view.format not in _UINT8 or view.ndim != 4:
        return None
    if tuple(view.shape[1:]) != (*resolution, CHANNELS):
        return None
    return Batch(_contiguous(view), False)


def images_in(source: Any) -> Iterable[Any] | None:
    """The images of a list, a tuple or an (N, H, W, 3) array; None if `source` is one image."""
    if isinstance(source, (list, tuple)):
        return source
    if _is_encoded(source) or _is_pillow(source):
        return None
    view = _view(source)
    if view.ndim != 4:
        return None
    _check_format(view, floats=False)
    return Batch(_contiguous(view), False).images()


def pixels_of(
    source: object,
    model: ModelFile,
    resolution: tuple[int, int],
    decoding: Decoding = DEFAULT,
    borrow: Borrow | None = None,
    upright: list[tuple[int, int]] | None = None,
) -> Any:
    """One image as a contiguous buffer of (H, W, 3) uint8 pixels of the network's own size.

    `source` is a path, bytes (an encoded image), a PIL.Image, or uint8 pixels (H, W, 3) in any
    buffer or array. Pixels of the network's own size are used as they are; others are resized and
    cropped as `model` says. `decoding` limits encoded images; `borrow` lends memory to
    decode in; `upright`, if given, receives (width, height) of the picture when it is upright.
    Raises InputError for anything else.
    """
    if _is_encoded(source):
        return encoded_pixels(source, model.input_spec, resolution, decoding, borrow, upright)
    if _is_pillow(source):
        from .preprocess import photo_pixels

        picture: Any = source
        return photo_pixels(picture, model.input_spec, resolution, upright=upright)
    view = _view(source)
    _check_format(view, floats=False)
    if view.ndim != 3 or view.shape[2] != CHANNELS or 0 in view.shape:
        raise InputError(
            f"pixels of shape {_text(view.shape)}: expected (height, width, {CHANNELS}), "
            "RGB, none of them zero; for an encoded image give its bytes"
        )
    view = _contiguous(view)
    height, width = view.shape[:2]
    if upright is not None:
        upright.append((width, height))
    if view.shape[:2] == resolution:
        return view
    from .framing import framing
    from .resize import resizer

    resize = resizer(framing(width, height, 1, model.input_spec, resolution))
    resize.picture(view)
    return resize.finish()


def encoded_pixels(
    source: Any,
    spec: InputSpec,
    resolution: tuple[int, int],
    decoding: Decoding = DEFAULT,
    borrow: Borrow | None = None,
    upright: list[tuple[int, int]] | None = None,
) -> Any:
    """The same of a path or an encoded image: by the C core, or by Pillow where that leaves it."""
    from .decoded import frame_of

    frame = frame_of(source, spec, resolution, decoding, borrow, upright)
    if frame is not None:
        return frame
    from .preprocess import photo_pixels

    return photo_pixels(source, spec, resolution, decoding, upright)


def plain_pixels(source: object, resolution: tuple[int, int]) -> Any:
    """A view of uint8 pixels of one image of the network's own size, contiguous in any buffer: the
    usual case in a few operations, for a run leaves no cache warm. None for all else."""
    try:
        view = memoryview(source)  # type: ignore[arg-type]
    except (TypeError, ValueError, BufferError):
        return None
    plain = view.format == "B" and view.shape == (*resolution, CHANNELS)
    return view if plain and view.c_contiguous else None


def batch_of(source: object, resolution: tuple[int, int]) -> Batch:
    """Images (N, H, W, 3) or (H, W, 3) of the network's own size, uint8 pixels or float32 that is
    already normalised. Raises InputError for anything else."""
    if _is_encoded(source) or _is_pillow(source):
        raise InputError(
            f"{type(source).__name__}: `logits` takes pixels in an array or a buffer; `predict` "
            "takes paths, encoded images and Pillow's"
        )
    view = _view(source, ARRAYS)
    is_float = _check_format(view, floats=True)
    expected = (*resolution, CHANNELS)
    if view.ndim not in (3, 4) or view.shape[-3:] != expected:
        raise InputError(
            f"array of shape {_text(view.shape)}: expected (N, {', '.join(map(str, expected))}) or "
            f"{_text(expected)}; `predict` resizes images of other sizes"
        )
    view = _contiguous(view)
    if view.ndim == 3:
        view = view.cast("B").cast("f" if is_float else "B", (1, *expected))
    return Batch(view, is_float)


def _is_encoded(source: object) -> bool:
    """A path or an encoded image: bytes, or a flat buffer of them."""
    if isinstance(source, (str, bytes, bytearray)):
        return True
    if isinstance(source, memoryview):
        return source.ndim == 1
    return hasattr(type(source), "__fspath__")  # an os.PathLike, which takes longer to ask for


def _is_pillow(source: object) -> bool:
    module = sys.modules.get("PIL.Image")  # not imported: then it is not one of Pillow's
    return module is not None and isinstance(source, module.Image)


def _view(source: object, expected: str = IMAGES) -> Any:
    try:
        return memoryview(source)  # type: ignore[arg-type]
    except (TypeError, ValueError, BufferError):
        pass
    if not hasattr(source, "__array__"):
        raise InputError(f"{type(source).__name__}: expected {expected}")
    import numpy as np

    try:
        return memoryview(np.asarray(source))  # type: ignore[arg-type]
    except Exception as error:  # whatever a foreign __array__ raises
        raise InputError(
            f"{type(source).__name__} does not convert to an array ({error}); "
            "give a NumPy array of uint8 pixels"
        ) from error


def _check_format(view: Any, floats: bool) -> bool:
    """Whether the values are float32; InputError unless they are uint8 or, if allowed, float32."""
    if view.format in _UINT8:
        return False
    if floats and view.format in _FLOAT32:
        return True
    from .advice import advice

    raise InputError(advice(view.format, floats))


def _contiguous(view: Any) -> Any:
    """`view` itself, or a copy in C order of one that is strided or in Fortran order."""
    if view.c_contiguous:
        return view
    return memoryview(view.tobytes()).cast(view.format[-1:], view.shape)


def _text(shape: tuple[int, ...] | None) -> str:
    return f"({', '.join(map(str, shape or ()))})"
