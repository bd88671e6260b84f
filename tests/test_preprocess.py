"""Images become exactly the pixels of the references, whatever they come in."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
import tracemalloc
import zlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mnv2_engine.errors import InputError, MissingExtraError
from mnv2_engine.images.preprocess import load_image, photo_pixels, pixels_for
from mnv2_engine.model.input_spec import PRESETS, InputSpec

np = pytest.importorskip("numpy")
Image = pytest.importorskip("PIL.Image")

SHARED = Path(__file__).parents[2] / "shared" / "images"
REFERENCES = SHARED / "references.npz"
TF = PRESETS["tf"]

needs_photographs = pytest.mark.skipif(
    not REFERENCES.exists(), reason="the reference photographs are not there"
)


def encoded(image, format_, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, format_, **options)
    return file.getvalue()


def array(image):
    assert image.mode == "RGB"
    return np.asarray(image)


@pytest.fixture(scope="module")
def colours():
    """17×31 random colours: no symmetry that a wrong turn could hide behind."""
    pixels = np.random.default_rng(1).integers(0, 256, (17, 31, 3), np.uint8)
    return Image.fromarray(pixels)


# The references


@needs_photographs
def test_pixels_equal_the_references():
    references, tall = np.load(REFERENCES), np.load(SHARED / "tall_references.npz")
    for name, expected in zip(references["files"], references["pixels"], strict=True):
        if name == tall["name"]:  # Pillow 13, which made the references, resizes it otherwise
            expected = tall["pixels"]
        path = SHARED / str(name)
        with Image.open(path) as opened:
            for source in (path, str(path), path.read_bytes(), opened):
                assert pixels_for(load_image(source), TF, (224, 224)) == expected.tobytes(), name
                assert photo_pixels(source, TF, (224, 224)) == expected.tobytes(), name


@needs_photographs
def test_pixels_of_the_right_size_are_used_as_they_are():
    for pixels in np.load(REFERENCES)["pixels"][:3]:
        assert pixels_for(Image.fromarray(pixels), TF, (224, 224)) == pixels.tobytes()


# Frames

SIDES = st.integers(1, 90)


@settings(max_examples=60, deadline=None)
@given(
    size=st.tuples(SIDES, SIDES),
    frame=st.tuples(st.integers(1, 48), st.integers(1, 48)),
    crop=st.sampled_from([1.0, 0.875, 0.7]),
    resample=st.sampled_from(["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"]),
)
def test_any_image_fills_any_frame_evenly(size, frame, crop, resample):
    # One colour must stay that colour: no border, no black, whatever the sizes.
    image = Image.new("RGB", size, (7, 130, 255))
    spec = InputSpec(TF.mean, TF.std, resample, crop)
    assert pixels_for(image, spec, frame) == bytes([7, 130, 255]) * (frame[0] * frame[1])


@pytest.mark.parametrize("size", [(300, 100), (100, 300), (301, 100), (97, 255), (64, 64)])
@pytest.mark.parametrize("frame", [(48, 32), (32, 48), (31, 31)])
def test_the_middle_is_cut_out_in_proportion(size, frame):
    """A horizontal and a vertical ramp say where each pixel of the frame came from."""
    width, height = size
    across = np.linspace(0, 255, width)[None, :].repeat(height, 0)
    down = np.linspace(0, 255, height)[:, None].repeat(width, 1)
    image = Image.fromarray(np.stack([across, down, 0 * down], -1).round().astype(np.uint8))
    out = np.frombuffer(pixels_for(image, TF, frame), np.uint8).reshape(*frame, 3) / 255.0
    scale = max(round(frame[0] / 0.875) / height, round(frame[1] / 0.875) / width)
    for axis, pixels, extent in (
        (0, out[:, frame[1] // 2, 1], height),
        (1, out[frame[0] // 2, :, 0], width),
    ):
        centre = pixels.mean()
        covered = (pixels[-1] - pixels[0]) * (extent - 1) / (frame[axis] - 1)
        assert centre == pytest.approx(0.5, abs=1.0 / (scale * extent) + 1 / 128)
        assert covered == pytest.approx(1 / scale, rel=0.04, abs=2 / 255 * extent / frame[axis])


def test_a_sliver_takes_little_memory():
    sliver = Image.new("RGB", (20000, 20), (1, 2, 3))
    tracemalloc.start()
    assert pixels_for(sliver, TF, (224, 224)) == bytes([1, 2, 3]) * 224**2
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "L", "1", "CMYK", "I;16", "I", "RGB"])
@pytest.mark.parametrize("orientation", [1, 6])
def test_a_picture_in_strips_is_the_picture_at_once(mode, orientation, monkeypatch):
    monkeypatch.setattr("mnv2_engine.images.preprocess.STRIP_PIXELS", 700)
    rng = np.random.default_rng(7)
    if mode in ("I", "I;16"):
        image = Image.fromarray(rng.integers(0, 65536, (90, 120), np.uint16))
        image = image.convert("I") if mode == "I" else image
    else:
        bands = len(Image.new(mode, (1, 1)).getbands())
        image = Image.fromarray(rng.integers(0, 256, (90, 120, 4), np.uint8))
        image = image.convert("RGB").convert(mode) if bands < 4 else image.convert(mode)
    if mode == "LA":
        image.putalpha(Image.fromarray(rng.integers(0, 256, (90, 120), np.uint8)))
    if mode == "P":
        image.info["transparency"] = 3
    image.getexif()[0x0112] = orientation
    expected = pixels_for(load_image(image), TF, (31, 43))
    assert photo_pixels(image, TF, (31, 43)) == expected


def test_frames_refuse_what_is_no_rgb_image():
    with pytest.raises(InputError, match="mode L"):
        pixels_for(Image.new("L", (8, 8)), TF, (8, 8))
    with pytest.raises(InputError, match="0×5"):
        pixels_for(Image.new("RGB", (0, 5)), TF, (8, 8))
    with pytest.raises(InputError, match="'cubist': expected one of bilinear"):
        pixels_for(Image.new("RGB", (9, 9)), TF._replace(resample="cubist"), (8, 8))


# Sources


def test_every_kind_of_source_gives_the_same_image(tmp_path, colours):
    data = encoded(colours, "PNG")
    path = tmp_path / "a photograph.png"
    path.write_bytes(data)
    sources = (path, str(path), data, bytearray(data), memoryview(data), colours, Image.open(path))
    for source in sources:
        assert (array(load_image(source)) == array(colours)).all()


@pytest.mark.parametrize(
    ("format_", "options", "exact"),
    [
        ("PNG", {}, True),
        ("BMP", {}, True),
        ("PPM", {}, True),
        ("TIFF", {}, True),
        ("TIFF", {"compression": "tiff_lzw"}, True),
        ("TGA", {}, True),
        ("WEBP", {"lossless": True}, True),
        ("JPEG", {"quality": 95, "subsampling": 0}, False),
        ("JPEG", {"quality": 95, "progressive": True}, False),
        ("WEBP", {"quality": 95}, False),
        ("GIF", {}, False),
    ],
)
def test_formats(format_, options, exact):
    ramp = np.linspace(0, 255, 64).round().astype(np.uint8)
    pixels = np.stack(np.broadcast_arrays(ramp[None, :], ramp[:, None], np.uint8(128)), -1)
    loaded = array(load_image(encoded(Image.fromarray(pixels), format_, **options), None))
    difference = np.abs(loaded.astype(int) - pixels)
    assert difference.max() == 0 if exact else difference.mean() < 8


def test_the_first_frame_of_an_animation(colours):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "lime", "blue")]
    for format_ in ("GIF", "PNG", "WEBP", "TIFF"):
        data = encoded(frames[0], format_, save_all=True, append_images=frames[1:])
        red = array(load_image(data))
        assert (np.abs(red.astype(int) - [255, 0, 0]) < 8).all(), format_


# Orientation

# What an orientation means, from the EXIF standard's "row 0 is the visual …, column 0 the …",
# as what must be done to the stored rows and columns.
STORED_TO_UPRIGHT = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: a.transpose(1, 0, 2)[:, ::-1],
    7: lambda a: a.transpose(1, 0, 2)[::-1, ::-1],
    8: lambda a: a.transpose(1, 0, 2)[::-1],
}


@pytest.mark.parametrize("format_", ["PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(colours, orientation, format_):
    exif = Image.Exif()
    exif[0x0112] = orientation
    lossless = {"lossless": True} if format_ == "WEBP" else {}
    data = encoded(colours, format_, exif=exif, **lossless)
    expected = STORED_TO_UPRIGHT[orientation](array(colours))
    assert (array(load_image(data)) == expected).all()
    assert (array(load_image(Image.open(io.BytesIO(data)))) == expected).all()


def test_exif_orientation_of_a_jpeg(colours):
    exif = Image.Exif()
    exif[0x0112] = 6
    plain = array(load_image(encoded(colours, "JPEG")))
    turned = array(load_image(encoded(colours, "JPEG", exif=exif)))
    assert (turned == STORED_TO_UPRIGHT[6](plain)).all()


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
@pytest.mark.parametrize("exif", [b"Exif\0\0garbage", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff", b"\0"])
def test_damaged_exif_does_not_cost_the_photograph(colours, exif):
    data = encoded(colours, "PNG", exif=exif)
    assert (array(load_image(data)) == array(colours)).all()


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_unknown_orientation_is_none(colours, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(colours, "PNG", exif=exif)
    assert (array(load_image(data)) == array(colours)).all()


# Modes


def test_grey_and_bilevel():
    ramp = np.arange(256, dtype=np.uint8).reshape(16, 16)
    for data in (encoded(Image.fromarray(ramp), "PNG"), Image.fromarray(ramp)):
        assert (array(load_image(data)) == ramp[..., None]).all()
    bits = Image.fromarray((ramp > 99).astype(np.uint8) * 255).convert("1", dither=0)
    assert (array(load_image(encoded(bits, "PNG"))) == 255 * (ramp > 99)[..., None]).all()


def over_white(colour, alpha):
    """Porter and Duff's over, on white, exactly."""
    return (np.asarray(colour, float) * alpha + 255.0 * (255 - alpha)) / 255


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA"])
def test_alpha_is_flattened_over_white(mode):
    rng = np.random.default_rng(2)
    colour = rng.integers(0, 256, (16, 16, 1 if mode != "RGBA" else 3), np.uint8)
    alpha = np.arange(256, dtype=np.uint8).reshape(16, 16)
    if mode == "PA":
        image = Image.fromarray(colour[..., 0]).convert("P")  # a palette of greys
        image = image.convert("PA")
        image.putalpha(Image.fromarray(alpha))
        assert image.mode == "PA"
    else:
        bands = [Image.fromarray(colour[..., i]) for i in range(colour.shape[2])]
        image = Image.merge(mode, [*bands, Image.fromarray(alpha)])
    expected = over_white(colour, alpha[..., None].astype(float))
    sources = [image] if mode == "PA" else [image, encoded(image, "PNG")]
    for source in sources:
        assert np.abs(array(load_image(source)) - expected).max() <= 1


def test_palette():
    image = Image.new("P", (3, 1))
    image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    image.putdata([2, 0, 1])
    expected = [[[0, 0, 255], [255, 0, 0], [0, 255, 0]]]
    assert array(load_image(encoded(image, "PNG"))).tolist() == expected
    assert array(load_image(encoded(image, "GIF"))).tolist() == expected
    # one colour transparent, as a key and as an alpha for each entry
    expected[0][1] = [255, 255, 255]
    assert array(load_image(encoded(image, "GIF", transparency=0))).tolist() == expected
    half = array(load_image(encoded(image, "PNG", transparency=bytes([0, 255, 128]))))
    assert half.tolist()[0][1:] == [[255, 255, 255], [0, 255, 0]]
    assert np.abs(half[0, 0].astype(int) - [127, 127, 255]).max() <= 1


def test_a_transparent_colour_key():
    grey = Image.fromarray(np.array([[0, 7, 8]], np.uint8))
    data = encoded(grey, "PNG", transparency=7)
    assert array(load_image(data))[0, :, 0].tolist() == [0, 255, 8]
    rgb = Image.fromarray(np.array([[[1, 2, 3], [3, 2, 1]]], np.uint8))
    data = encoded(rgb, "PNG", transparency=(1, 2, 3))
    assert array(load_image(data)).tolist() == [[[255, 255, 255], [3, 2, 1]]]
    deep = Image.fromarray(np.array([[0, 300, 301, 65535]], np.uint16))
    data = encoded(deep, "PNG", transparency=300)
    assert array(load_image(data))[0, :, 0].tolist() == [0, 255, 1, 255]


def test_16_bit_grey_is_scaled():
    values = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    expected = np.rint(values / 257.0).astype(np.uint8)  # 65535 / 255 = 257, which is odd: no ties
    image = Image.fromarray(values)
    assert image.mode == "I;16"
    big_endian = Image.frombytes("I;16B", (256, 256), values.astype(">u2").tobytes())
    as_integers = Image.fromarray(values.astype(np.int32))
    assert as_integers.mode == "I"
    sources = (image, big_endian, as_integers, encoded(image, "PNG"), encoded(image, "TIFF"))
    for source in sources:
        assert (array(load_image(source)) == expected[..., None]).all()


@pytest.mark.parametrize("value", [-1, 65536, -(2**31), 2**31 - 1])
def test_32_bit_grey_beyond_16_bits_is_refused(value):
    image = Image.fromarray(np.array([[0, value]], np.int32))
    with pytest.raises(InputError, match=r"32-bit grey.*convert the image to 8 bits"):
        load_image(image)


def test_floating_point_is_refused():
    image = Image.fromarray(np.ones((4, 4), np.float32))
    for source in (image, encoded(image, "TIFF")):
        with pytest.raises(InputError, match="floating-point pixels, whose white is unknown"):
            load_image(source)


@pytest.mark.parametrize("mode", ["CMYK", "YCbCr", "HSV", "LAB"])
def test_other_colour_spaces(mode):
    """Red, lime, blue, white, black and grey come back as themselves."""
    colours = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255,) * 3, (0,) * 3, (128,) * 3]
    rgb = Image.fromarray(np.array([colours], np.uint8))
    if mode == "LAB":
        cms = pytest.importorskip("PIL.ImageCms")
        space = cms.createProfile("LAB")
        image = cms.profileToProfile(rgb, cms.createProfile("sRGB"), space, outputMode="LAB")
    else:
        image = rgb.convert(mode)
    loaded = array(load_image(image)).astype(int)
    # An 8-bit LAB cannot hold sRGB's corners, the others can.
    assert np.abs(loaded - [colours]).max() <= (24 if mode == "LAB" else 3)


def test_cmyk_jpeg_as_adobe_writes_it():
    """Ink 0 is stored as 255; forgetting that makes a negative."""
    blocks = np.zeros((16, 32, 4), np.uint8)
    blocks[:, 16:, 3] = 255
    data = encoded(Image.frombytes("CMYK", (32, 16), blocks.tobytes()), "JPEG", quality=95)
    loaded = array(load_image(data))
    assert loaded[:, :16].min() > 250
    assert loaded[:, 16:].max() < 5


@pytest.mark.parametrize("mode", ["RGBX", "RGBa", "I;16L", "I;16N"])
def test_rare_modes(mode):
    loaded = load_image(Image.new(mode, (5, 4)))
    assert (loaded.mode, loaded.size) == ("RGB", (5, 4))


# Bad input


def test_files_that_cannot_be_read(tmp_path):
    for path, reason in (
        (tmp_path / "absent.jpg", "No such file"),
        (tmp_path, "Is a directory"),
        ("nul\0.jpg", "null"),
    ):
        pattern = rf"(?s){Path(path).name[:3]}.*cannot be read: .*{reason}"
        with pytest.raises(InputError, match=pattern):
            load_image(path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission(tmp_path):
    path = tmp_path / "secret.png"
    path.write_bytes(b"")
    path.chmod(0)
    with pytest.raises(InputError, match=r"secret\.png: cannot be read: Permission denied"):
        load_image(path)


@pytest.mark.parametrize("source", [None, 3, 1.5, ["a.jpg"], object()])
def test_sources_of_the_wrong_type(source):
    with pytest.raises(InputError, match=f"type {type(source).__name__}: expected a path"):
        load_image(source)


def test_an_empty_file_and_text(tmp_path):
    path = tmp_path / "empty.jpg"
    path.write_bytes(b"")
    with pytest.raises(InputError, match=r"empty\.jpg: cannot be decoded: it is empty"):
        load_image(path)
    path.write_text("No photograph at all.")
    with pytest.raises(InputError, match="not an image that Pillow reads"):
        load_image(path)
    with pytest.raises(InputError, match="encoded image of 3 bytes: cannot be decoded"):
        load_image(b"abc")


def test_images_without_pixels():
    for size in ((0, 5), (5, 0), (0, 0)):
        for mode in ("RGB", "RGBA", "I;16", "P"):
            with pytest.raises(InputError, match=r"at least one|cannot be decoded"):
                load_image(Image.new(mode, size))


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "GIF", "TIFF", "WEBP", "BMP"])
def test_truncated_files(colours, format_, tmp_path):
    whole = encoded(colours.resize((170, 130)), format_)
    path = tmp_path / f"half.{format_.lower()}"
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=rf"half\.{format_.lower()}: cannot be decoded: .+"):
        load_image(path)


FORMATS = ("JPEG", "PNG", "GIF", "TIFF", "WEBP", "BMP", "ICO")


@pytest.mark.filterwarnings("ignore")
@settings(max_examples=300, deadline=None)
@given(data=st.data(), format_=st.sampled_from(FORMATS))
def test_damaged_files_end_in_an_answer_or_an_input_error(data, format_):
    image = Image.new("RGB", (20, 20), (9, 8, 7))
    exif = Image.Exif()
    exif[0x0112] = 6
    damaged = bytearray(encoded(image, format_, exif=exif))
    for _ in range(data.draw(st.integers(1, 6))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(InputError):
        assert load_image(bytes(damaged)).mode == "RGB"


def png_claiming(width: int, height: int) -> bytes:
    def chunk(name: bytes, body: bytes) -> bytes:
        checksum = zlib.crc32(name + body).to_bytes(4, "big")
        return len(body).to_bytes(4, "big") + name + body + checksum

    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([8, 2, 0, 0, 0])
    parts = (chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(b"")), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def test_a_decompression_bomb():
    with pytest.raises(InputError, match=r"cannot be decoded: .*decompression bomb"):
        load_image(png_claiming(60000, 60000))


def test_eps_is_a_program_and_not_run():
    program = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n%%EOF\n"
    with pytest.raises(InputError, match="EPS is not"):
        load_image(program)


# Imports


def test_numpy_is_not_imported(tmp_path, colours):
    path = tmp_path / "a.png"
    path.write_bytes(encoded(colours, "PNG"))
    script = (
        "import sys\n"
        "from mnv2_engine.images import preprocess\n"
        "from mnv2_engine.model.input_spec import PRESETS\n"
        "assert 'PIL' not in sys.modules\n"
        "image = preprocess.load_image(sys.argv[1])\n"
        "assert len(preprocess.pixels_for(image, PRESETS['tf'], (8, 9))) == 8 * 9 * 3\n"
        "assert 'numpy' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", script, str(path)], cwd=tmp_path, check=True, timeout=60)


def test_without_pillow_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    with pytest.raises(MissingExtraError, match=r"needs Pillow.*mnv2-engine\[cli\]"):
        load_image(b"anything")
