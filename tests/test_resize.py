"""One resize, the same bits from NumPy, from every instruction set and from Pillow up to 12."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from mnv2_engine.errors import InputError
from mnv2_engine.images.framing import MOST_STORED, Framing, covering, framing
from mnv2_engine.images.resize import NativeResizer, NumpyResizer, native_framing
from mnv2_engine.model.input_spec import PRESETS

np = pytest.importorskip("numpy")
Image = pytest.importorskip("PIL.Image")

OF_TWO = ("bilinear-no-antialias", "bilinear-from-corner")  # which are not Pillow's
FILTERS = ("nearest", "box", "bilinear", "hamming", "bicubic", "lanczos", *OF_TWO)
# Pillow's transposition that sets a picture of EXIF's orientation upright.
UPRIGHT = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}


def random_framing(choose: random.Random) -> Framing:
    most = choose.choice([3, 12, 90, 260])
    return Framing(
        choose.randint(1, most),
        choose.randint(1, most),
        choose.randint(1, 8),
        (choose.randint(1, 50), choose.randint(1, 50)),
        choose.choice(FILTERS),
        choose.choice([1.0, 0.875, 0.7]),
        choose.choice(["crop", "crop", "squash"]),
    )


def picture_of(framed: Framing, seed: int) -> Any:
    """Random colours, or black and white alone, whose overshoots are the largest."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (framed.height, framed.width, 3), np.uint8)
    return pixels if seed % 2 else np.where(pixels > 127, np.uint8(255), np.uint8(0))


def resized(resizer: Any, pixels: Any) -> bytes:
    resizer.picture(pixels)
    return bytes(resizer.finish())


def vertical_passes_first(image: Any, size: tuple[int, int]) -> bool:
    """Whether Pillow 13 would do so."""
    return image.height - size[1] > 2 * (image.width - size[0])


def by_pillow(framed: Framing, pixels: Any) -> bytes | None:
    """Decode, transpose, resize, crop; None where Pillow's order depends on its version, and for a
    filter that is not Pillow's."""
    if framed.resample in OF_TWO:
        return None
    image = Image.fromarray(pixels)
    if framed.orientation > 1:
        image = image.transpose(Image.Transpose(UPRIGHT[framed.orientation]))
    size, (height, width) = covering(framed), framed.frame
    if vertical_passes_first(image, size):
        return None
    if image.size != (width, height):
        image = image.resize(size, Image.Resampling[framed.resample.upper()])
    left, top = round((size[0] - width) / 2), round((size[1] - height) / 2)
    return bytes(image.crop((left, top, left + width, top + height)).tobytes())


def test_numpy_resizes_as_pillow_does():
    choose, compared = random.Random(1), 0
    for seed in range(180):
        framed = random_framing(choose)
        pixels = picture_of(framed, seed)
        expected = by_pillow(framed, pixels)
        if expected is not None:
            compared += 1
            assert resized(NumpyResizer(framed), pixels) == expected, framed
    assert compared > 60


def test_every_instruction_set_resizes_as_numpy_does():
    core = pytest.importorskip("mnv2_engine._core")
    from mnv2_engine.executors.native import isas

    sets = [name for name, supported in isas().items() if supported]
    choose = random.Random(2)
    for seed in range(150):
        framed = random_framing(choose)
        pixels = picture_of(framed, seed)
        oracle = NumpyResizer(framed)
        expected = resized(oracle, pixels)
        for isa in sets:
            native = NativeResizer(framed, core, isa)
            assert (native.rows, native.columns) == (oracle.rows, oracle.columns), framed
            assert resized(native, pixels) == expected, (isa, framed)
            # The same in strips of what is needed alone.
            native = NativeResizer(framed, core, isa)
            part = pixels[native.rows.start :, native.columns.start : native.columns.stop]
            for top in range(0, len(native.rows), 7):
                count = min(7, len(native.rows) - top)
                native.lines(np.ascontiguousarray(part[top : top + count]), count)
            assert native.finish() == expected, (isa, framed)


def by_four_pixels(pixels: Any, height: int, width: int, half: float) -> Any:
    """Bilinear without antialiasing, as TensorFlow's kernel has it: the nearest four pixels, in
    floating point, nothing rounded. `half`: 0.5 for half-pixel centres, 0 without."""
    axes = []
    for stored, wanted in ((pixels.shape[0], height), (pixels.shape[1], width)):
        at = (np.arange(wanted, dtype=np.float64) + half) * stored / wanted - half
        low = np.floor(at)
        first, second = (np.clip(x, 0, stored - 1).astype(int) for x in (low, np.ceil(at)))
        axes.append((first, second, at - low))
    (top, bottom, down), (left, right, across) = axes
    down, across = down[:, None, None], across[None, :, None]
    rows = pixels[top] * (1 - down) + pixels[bottom] * down
    return rows[:, left] * (1 - across) + rows[:, right] * across


@pytest.mark.parametrize(("resample", "half"), [*zip(OF_TWO, (0.5, 0.0), strict=True)])
@pytest.mark.parametrize("size", [(900, 40), (37, 211), (64, 64), (5, 3), (224, 223)])
def test_bilinear_without_antialiasing_is_tensorflows(size, resample, half):
    pixels = np.random.default_rng(7).integers(0, 256, (*size, 3), np.uint8)
    framed = Framing(size[1], size[0], 1, (48, 56), resample, 1.0, "squash")
    found = np.frombuffer(resized(NumpyResizer(framed), pixels), np.uint8).reshape(48, 56, 3)
    expected = by_four_pixels(pixels.astype(np.float64), 48, 56, half)
    assert np.abs(found - expected).max() < 1.0 + 1e-6  # two roundings of a half each


def test_a_squashed_picture_keeps_its_edges():
    """A frame of colour around a picture is still there, on all four sides."""
    pixels = np.zeros((300, 90, 3), np.uint8)
    pixels[:30] = pixels[-30:] = 255
    pixels[:, :10] = pixels[:, -10:] = 255
    framed = Framing(90, 300, 1, (45, 60), "box", 1.0, "squash")
    found = np.frombuffer(resized(NumpyResizer(framed), pixels), np.uint8).reshape(45, 60, 3)
    assert found[0].min() == found[-1].min() == found[:, 0].min() == found[:, -1].min() == 255
    assert found[10:35, 15:45].max() == 0


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_tall_photograph_is_resampled_across_first(orientation):
    """1 : 2.2, where Pillow 13 took up the other order: the passes one by one, by Pillow."""
    pixels = np.random.default_rng(5).integers(0, 256, (1100, 500, 3), np.uint8)
    framed = Framing(500, 1100, 1, (224, 224), "bilinear", 0.875)
    assert vertical_passes_first(Image.fromarray(pixels), covering(framed))
    across = Image.fromarray(pixels).resize((256, 1100), Image.Resampling.BILINEAR)
    whole = across.resize((256, 563), Image.Resampling.BILINEAR)
    top = round((563 - 224) / 2)
    expected = whole.crop((16, top, 240, top + 224)).tobytes()
    turned = pixels  # stored so that its orientation sets it upright
    if orientation > 1:
        undo = {6: 2, 8: 4}.get(orientation, UPRIGHT[orientation])
        turned = np.asarray(Image.fromarray(pixels).transpose(Image.Transpose(undo)))
    framed = framed._replace(width=turned.shape[1], height=turned.shape[0], orientation=orientation)
    assert resized(NumpyResizer(framed), np.ascontiguousarray(turned)) == expected
    core = pytest.importorskip("mnv2_engine._core")
    assert resized(NativeResizer(framed, core), np.ascontiguousarray(turned)) == expected


def test_the_tall_photograph_is_its_reference(shared: Path):
    from mnv2_engine.images.preprocess import load_image, pixels_for

    with np.load(shared / "images" / "tall_references.npz") as reference:
        image = load_image(shared / "images" / str(reference["name"]))
        assert pixels_for(image, PRESETS["tf"], (224, 224)) == reference["pixels"].tobytes()


def test_only_what_the_crop_keeps_is_read():
    core = pytest.importorskip("mnv2_engine._core")
    framed = Framing(20000, 20, 1, (224, 224), "bilinear", 0.875)
    native = NativeResizer(framed, core)
    assert len(native.columns) <= 20  # of 20000
    assert len(native.rows) == 20


def test_a_sliver_beyond_all_measure_is_refused():
    core = pytest.importorskip("mnv2_engine._core")
    framed = Framing(64_000_000, 1, 1, (224, 224), "nearest", 0.875)
    for make in (NumpyResizer, lambda each: NativeResizer(each, core)):
        with pytest.raises(InputError, match=r"64000000×1 pixels: too long and narrow.*crop it"):
            make(framed)


def test_a_picture_beyond_what_is_counted_is_refused():
    """Bytes of a turned picture's line fit 32 bits: found by fuzzing, at 730,493,084 columns."""
    core = pytest.importorskip("mnv2_engine._core")
    largest = Framing(MOST_STORED, MOST_STORED, 6, (32, 32), "bilinear", 0.875)
    plan = core.ffi.new("mnv2_resize_plan *")
    assert core.lib.mnv2_resize_plan_for(native_framing(core, largest, 4), plan) == 0
    assert plan.sum_bytes > 4 * 4 * 0.8 * MOST_STORED
    for sides in ((MOST_STORED + 1, 9), (9, 730_493_084)):
        with pytest.raises(InputError, match="expected sides of at most 268,435,456; crop it"):
            framing(*sides, 1, PRESETS["tf"], (224, 224))


def test_the_core_refuses_framings_that_cannot_be():
    core = pytest.importorskip("mnv2_engine._core")
    plan = core.ffi.new("mnv2_resize_plan *")
    sound = Framing(9, 9, 1, (4, 4), "box", 1.0)
    for field, value in (
        *(("width", 0), ("height", -1), ("orientation", 0), ("orientation", 9)),
        *(("width", MOST_STORED + 1), ("height", MOST_STORED + 1)),
        *(
            ("out_width", 0),
            ("out_height", 1 << 21),
            ("filter", core.lib.MNV2_FILTERS),
            ("filter", -1),
        ),
        *(("fit", core.lib.MNV2_FITS), ("fit", -1)),
        *(("pixel_bytes", 2), ("crop_fraction", 0.0), ("crop_fraction", float("nan"))),
    ):
        wanted = native_framing(core, sound, 3)
        assert core.lib.mnv2_resize_plan_for(wanted, plan) == core.lib.MNV2_IMAGE_OK
        setattr(wanted, field, value)
        assert core.lib.mnv2_resize_plan_for(wanted, plan) == core.lib.MNV2_BAD_FRAMING, field
