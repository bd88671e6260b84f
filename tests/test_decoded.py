"""JPEG and PNG by the C core: Pillow's pixels, in memory that is stated before."""

from __future__ import annotations

import random
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from photograph_attacks import encoded, huge, huge_png, noise, progressive_bomb, small

from mnv2_engine.errors import InputError, UnsupportedError
from mnv2_engine.images import decoded
from mnv2_engine.images.limits import DEFAULT, Decoding
from mnv2_engine.images.photo_plan import plan_of_file, plan_of_kind
from mnv2_engine.images.preprocess import load_image, pixels_for
from mnv2_engine.model.input_spec import PRESETS, InputSpec

np = pytest.importorskip("numpy")
Image = pytest.importorskip("PIL.Image")
ImageFile = pytest.importorskip("PIL.ImageFile")
core = pytest.importorskip("mnv2_engine._core")

TF, FRAME = PRESETS["tf"], (224, 224)
ANY = Decoding(1 << 40, (*DEFAULT.formats, "PPM"))
needs_jpeg = pytest.mark.skipif(
    "JPEG" not in decoded.decoders(), reason="the C core was built without libjpeg-turbo"
)
needs_png = pytest.mark.skipif(
    "PNG" not in decoded.decoders(), reason="the C core was built without libpng"
)


@pytest.fixture(scope="module", autouse=True)
def room_for_noise() -> Iterator[None]:
    """Noise does not compress. Pillow allocates this much for every `tobytes` too, so it must not
    stay behind for other tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ImageFile, "MAXBLOCK", 1 << 26)
        yield


def exif(orientation: int) -> Any:
    made = Image.Exif()
    made[0x0112] = orientation
    return made


def by_pillow(source: bytes, spec: InputSpec = TF, frame: tuple[int, int] = FRAME) -> bytes:
    return pixels_for(load_image(source, None), spec, frame)


def by_core(source: Any, spec: InputSpec = TF, frame: tuple[int, int] = FRAME) -> bytes | None:
    found = decoded.frame_of(source, spec, frame, ANY)
    return None if found is None else bytes(found)


def random_case(choose: random.Random, kind: str) -> tuple[bytes, InputSpec, tuple[int, int]]:
    most = choose.choice([1, 3, 20, 70, 300, 900, 900, 2500])
    width, height = choose.randint(1, most), choose.randint(1, most)
    bands = choose.choice([1, 3, 3, 3])
    coarse = choose.choice([1, 4, 16])
    image = noise(width, height, choose.randint(0, 1 << 30), bands, coarse)
    spec = InputSpec(
        TF.mean,
        TF.std,
        choose.choice(["bilinear", "bicubic", "box", "nearest", "lanczos", "hamming"]),
        choose.choice([1.0, 0.875]),
    )
    frame = (choose.randint(1, 230), choose.randint(1, 230))
    options: dict[str, Any] = {"exif": exif(choose.randint(1, 8))}
    if kind == "PNG":
        mode = choose.choice(["1", "P", "RGB", "RGBA", "LA", "L"])
        if mode in ("RGBA", "LA"):
            image.putalpha(noise(width, height, choose.randint(0, 99), 1))
        return encoded(image.convert(mode), "PNG", compress_level=1, **options), spec, frame
    options |= {"quality": choose.randint(5, 99), "progressive": choose.random() < 0.5}
    options["optimize"] = choose.random() < 0.2
    if bands == 3:
        options["subsampling"] = choose.choice(["4:4:4", "4:2:2", "4:2:0"])
    if choose.random() < 0.3:
        options["restart_marker_blocks"] = choose.randint(1, 99)
    return encoded(image, "JPEG", **options), spec, frame


@needs_jpeg
@needs_png
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_random_files_become_pillows_pixels(kind, pytestconfig):
    count = pytestconfig.getoption("--photographs")
    choose = random.Random(count)
    for case in range(count):
        source, spec, frame = random_case(choose, kind)
        assert by_core(source, spec, frame) == by_pillow(source, spec, frame), (case, spec, frame)


@needs_jpeg
@pytest.mark.skipif(not shutil.which("cjpeg"), reason="needs cjpeg, of libjpeg-turbo-progs")
@pytest.mark.parametrize("sampling", ["1x1", "2x1", "1x2", "2x2", "4x1", "1x4", "4x2", "2x1,1x2"])
@pytest.mark.parametrize("script", ["baseline", "progressive", "apart", "grey", "spectral"])
def test_samplings_and_scripts_of_cjpeg(sampling, script, tmp_path):
    scripts = {"apart": "0;1;2;", "spectral": "0,1,2:0-0,0,0;1:1-63,0,0;2:1-63,0,0;0:1-63,0,0;"}
    options = ["-sample", sampling]
    if script in scripts:
        (tmp_path / "scans").write_text(scripts[script])
        options += ["-scans", str(tmp_path / "scans")]
    options += {"progressive": ["-progressive"], "grey": ["-grayscale"]}.get(script, [])
    compared = 0
    for width, height in ((333, 251), (640, 480), (97, 600), (17, 5)):
        source = tmp_path / "picture.ppm"
        noise(width, height, width, coarse=4).save(source)
        out = tmp_path / "out.jpg"
        command = ["cjpeg", "-quality", "85", *options, "-outfile", str(out), str(source)]
        if subprocess.run(command, capture_output=True).returncode:
            continue  # cjpeg does not write it
        found = by_core(out.read_bytes())
        if found is not None:  # rare ones may be left to Pillow
            compared += 1
            assert found == by_pillow(out.read_bytes()), (width, height)
    if sampling in ("1x1", "2x1", "1x2", "2x2", "4x1"):
        assert compared == 4


@needs_jpeg
def test_one_photograph_in_nine_orientations(shared: Path):
    """Nine files of one scene, each encoded for itself: Pillow's bits, and near each other."""
    files = [(shared / "images" / "turned" / f"Portrait_{i}.jpg").read_bytes() for i in range(9)]
    frames = [by_core(each) for each in files]
    assert frames == [by_pillow(each) for each in files]
    first, *others = (np.frombuffer(each, np.uint8).astype(int) for each in frames)
    assert all(np.abs(each - first).mean() < 1.5 for each in others)


@needs_jpeg
def test_the_photographs_are_their_references(shared: Path):
    references = np.load(shared / "images" / "references.npz")
    tall = np.load(shared / "images" / "tall_references.npz")
    for name, expected in zip(references["files"], references["pixels"], strict=True):
        if name == tall["name"]:
            expected = tall["pixels"]
        frame = by_core(shared / "images" / str(name))
        if frame is not None:  # of CMYK, say
            # Decoders differ by a step here and there from the one that made the references.
            difference = np.abs(np.frombuffer(frame, np.uint8).astype(int) - expected.ravel())
            assert difference.max() <= 1, name


# What is left to Pillow, and what is refused


@needs_jpeg
def test_what_is_rare_is_left_to_pillow():
    image = noise(40, 30, 1)
    rare = [
        encoded(image.convert("CMYK"), "JPEG"),
        encoded(image, "GIF"),
        encoded(image, "WEBP"),
        encoded(noise(9, 9, 1, 1), "PNG", transparency=7),
        encoded(Image.fromarray(np.zeros((9, 9), np.uint16)), "PNG"),
        encoded(image, "PNG", save_all=True, append_images=[noise(40, 30, 2)]),
        b"",
        b"\xff\xd8\xff",
        b"no picture",
    ]
    assert [by_core(each) for each in rare] == [None] * len(rare)


@needs_jpeg
@needs_png
@pytest.mark.parametrize("kind", range(3), ids=["baseline", "progressive", "png"])
def test_truncated_at_every_byte(kind):
    whole = small()[kind]
    assert by_core(whole) == by_pillow(whole)
    for size in range(len(whole)):
        assert by_core(whole[:size]) is None, size


@needs_jpeg
@needs_png
@pytest.mark.filterwarnings("ignore")
def test_damaged_files_answer_as_pillow_does(pytestconfig):
    choose = random.Random(4)
    answered = 0
    for case in range(pytestconfig.getoption("--photographs") * 4):
        image = noise(choose.randint(1, 60), choose.randint(1, 60), case, coarse=4)
        kind = choose.choice(["JPEG", "JPEG", "PNG"])
        options = {"progressive": choose.random() < 0.5} if kind == "JPEG" else {}
        damaged = bytearray(encoded(image, kind, exif=exif(6), **options))
        for _ in range(choose.randint(1, 3)):
            damaged[choose.randrange(len(damaged))] = choose.randrange(256)
        try:
            found = by_core(bytes(damaged), TF, (32, 32))
        except InputError:
            continue
        if found is not None:
            answered += 1
            assert found == by_pillow(bytes(damaged), TF, (32, 32)), case
    assert answered


@needs_jpeg
def test_thousands_of_scans_are_refused():
    with pytest.raises(InputError, match="more than 64 scans"):
        by_core(progressive_bomb(3000))
    assert by_core(progressive_bomb(20)) is None


def test_limits_are_checked_before_a_pixel():
    for source in huge():
        with pytest.raises(
            InputError, match=r"65500×65500 pixels: at most 64,000,000.*max_pixels="
        ):
            decoded.frame_of(source, TF, FRAME, DEFAULT)
    with pytest.raises(InputError, match=r"PNG is not among the formats.*\(JPEG\).*formats="):
        decoded.frame_of(huge_png(), TF, FRAME, DEFAULT.but(formats=["jpeg"]))
    tiny = encoded(noise(10, 10, 1), "JPEG")
    with pytest.raises(InputError, match="10×10 pixels: at most 99 "):
        decoded.frame_of(tiny, TF, FRAME, DEFAULT.but(max_pixels=99))
    for bad in ({"max_pixels": 0}, {"max_pixels": True}, {"formats": "JPEG"}, {"formats": []}):
        with pytest.raises(InputError, match="expected"):
            DEFAULT.but(**bad)
    with pytest.raises(InputError, match="decode 'fast': expected one of exact, reduced"):
        DEFAULT.but(decode="fast")


def test_limits_hold_in_pillow_too():
    picture = noise(100, 90, 1)
    for form in ("BMP", "WEBP", "TIFF", "GIF"):
        with pytest.raises(InputError, match="100×90 pixels: at most 8,999"):
            load_image(encoded(picture, form), DEFAULT.but(max_pixels=8999))
    with pytest.raises(InputError, match="PPM is not among the formats"):
        load_image(encoded(picture, "PPM"))
    assert load_image(encoded(picture, "PPM"), DEFAULT.but(formats=["ppm"])).size == (100, 90)


# The plan


@needs_jpeg
def test_the_library_stays_within_its_bound(tmp_path):
    """For every kind of file; and a bound that is twice too high would be no plan."""
    ffi, lib = core.ffi, core.lib
    from mnv2_engine.executors.native import image_isa

    for width, height in ((16, 16), (640, 480), (2016, 1512)):
        for progressive in (False, True):
            for sampling in ("4:4:4", "4:2:2", "4:2:0", None):
                image = noise(width, height, 1, 3 if sampling else 1, 8)
                options = {"subsampling": sampling} if sampling else {}
                source = encoded(image, "JPEG", progressive=progressive, **options)
                data = ffi.from_buffer(source)
                seen = decoded.look(core, data, len(source))
                plan = decoded.planned(core, seen, TF, FRAME, DEFAULT)
                room = bytearray(plan.bytes + 64)
                memory = ffi.from_buffer("char[]", room, require_writable=True)
                memory += -int(ffi.cast("uintptr_t", memory)) % 64
                out, used = ffi.new("uint8_t[]", 224 * 224 * 3), ffi.new("int64_t *")
                status = lib.mnv2_photo_decode(
                    data, len(source), seen.photo, plan, image_isa(), memory, out, used
                )
                assert status == lib.MNV2_IMAGE_OK
                assert used[0] <= plan.library_bytes, (width, progressive, sampling)
                if width > 640 and sampling:
                    assert plan.library_bytes < 1.4 * used[0], (width, progressive, sampling)


@needs_jpeg
def test_a_plan_of_a_file_is_that_of_its_kind():
    for progressive in (False, True):
        source = encoded(noise(400, 300, 1), "JPEG", progressive=progressive)
        of_file = plan_of_file(source, TF, FRAME, 1 << 18)
        of_kind = plan_of_kind(400, 300, "jpeg", progressive, "4:2:0", 1, TF, FRAME, 1 << 18)
        assert of_file == of_kind
        parts = sum(of_file[5:10])
        assert parts <= of_file.bytes <= parts + 2048
        assert "400×300" in str(of_file)
    with pytest.raises(UnsupportedError, match="left to Pillow"):
        plan_of_file(encoded(noise(4, 4, 1), "GIF"), TF, FRAME, 0)
    with pytest.raises(InputError, match="expected JPEG or PNG"):
        plan_of_kind(4, 4, "gif", False, "4:2:0", 1, TF, FRAME, 0)


@needs_jpeg
def test_reduced_decoding_never_goes_below_twice_the_need():
    reduced = DEFAULT.but(decode="reduced")
    sizes = {(1023, 1024): 1, (1024, 1024): 2, (2048, 3000): 4, (4096, 4096): 8, (9000, 9000): 8}
    for (width, height), expected in sizes.items():
        plan = plan_of_kind(width, height, "jpeg", False, "4:2:0", 1, TF, FRAME, 0, reduced)
        assert plan.reduced == expected
    image = noise(1100, 1050, 3, coarse=50)
    for progressive in (False, True):
        source = encoded(image, "JPEG", quality=95, progressive=progressive)
        exact = np.frombuffer(by_core(source), np.uint8).astype(int)
        near = decoded.frame_of(source, TF, FRAME, reduced)
        difference = np.abs(np.frombuffer(near, np.uint8).astype(int) - exact)
        assert 0 < difference.mean() < 4
