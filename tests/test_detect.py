"""`Engine.detect` and `mnv2 detect`: objects in pixels of the caller's image."""

from __future__ import annotations

import io
import json
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from detector_network import seeded_weights, small_detector

from mnv2_engine import Box, Detection, Engine
from mnv2_engine.cli import main
from mnv2_engine.detect.decoding import converted, decoded
from mnv2_engine.detect.suppression import suppressed
from mnv2_engine.errors import InputError, UnsupportedError
from mnv2_engine.executors.reference import normalise, run
from mnv2_engine.model.input_spec import PRESETS
from mnv2_engine.model.modelfile import write_model

Image = pytest.importorskip("PIL.Image")

Array = np.ndarray[Any, Any]

MADE = small_detector()
assert MADE.detection is not None
NETWORK = MADE._replace(detection=MADE.detection._replace(score_threshold=0.2, max_objects=12))
WEIGHTS = seeded_weights(NETWORK)
SPEC = PRESETS["tf"]._replace(resample="box", crop_fraction=1.0, fit="squash")
LABELS = [f"thing {i}" for i in range(NETWORK.classes)]
HEIGHT, WIDTH = NETWORK.resolution


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("detector") / "detector.npz"
    write_model(out, NETWORK, WEIGHTS, SPEC, LABELS, {"source": "seeded"})
    return out


@pytest.fixture(scope="module")
def engine(path: Path) -> Engine:
    return Engine.load(path)


def picture(seed: int = 0) -> Array:
    return np.random.default_rng(seed).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)


def truth(pixels: Array, threshold: float = 0.0) -> list[Any]:
    """What the float64 oracle and the definition say."""
    given = NETWORK.detection
    assert given is not None
    raw = run(NETWORK, WEIGHTS, normalise(SPEC, pixels[None], np.float64), np.float64)
    assert raw.boxes is not None
    assert raw.scores is not None
    return suppressed(
        decoded(raw.boxes[0], WEIGHTS["anchors"], given.box_coding),
        converted(raw.scores[0], given.score_conversion, given.background),
        max(threshold, given.score_threshold),
        given.iou_threshold,
        given.max_per_class,
        given.max_objects,
    )


def assert_same(found: list[Detection], due: list[Any], size: tuple[int, int]) -> None:
    width, height = size
    assert len(found) == len(due) > 0
    for some, true in zip(found, due, strict=True):
        assert (some.index, some.label) == (true.index, LABELS[true.index])
        assert some.score == pytest.approx(true.score, abs=1e-5)
        top, left, bottom, right = true.box
        places = left * width, top * height, right * width, bottom * height
        assert tuple(some.box) == pytest.approx(places, abs=1e-3 * max(size))


@pytest.mark.parametrize("backend", ["c", "numpy"])
def test_objects_are_those_of_the_oracle(path: Path, backend: str) -> None:
    with Engine.load(path, backend=backend) as engine:
        for seed in range(3):
            pixels = picture(seed)
            assert_same(engine.detect(pixels, 0), truth(pixels), (WIDTH, HEIGHT))


def test_threads_change_nothing(path: Path, engine: Engine) -> None:
    with Engine.load(path, threads=2) as other:
        assert other.detect(picture(), 0) == engine.detect(picture(), 0)


def test_boxes_are_in_pixels_of_the_image_that_was_given(engine: Engine) -> None:
    """Twice as high and three times as wide: squashed, it is the same frame."""
    pixels = picture()
    larger = pixels.repeat(2, axis=0).repeat(3, axis=1)
    assert_same(engine.detect(larger, 0), truth(pixels), (3 * WIDTH, 2 * HEIGHT))


def test_boxes_of_a_cropped_frame_lie_where_it_was_cut_out(tmp_path: Path) -> None:
    """A network that sees the middle of the picture, as a crop fraction says."""
    path = tmp_path / "cropped.npz"
    spec = SPEC._replace(crop_fraction=0.5, fit="crop")
    write_model(path, NETWORK, WEIGHTS, spec, LABELS, {})
    whole = np.zeros((2 * HEIGHT, 2 * WIDTH, 3), np.uint8)
    top, left = round(HEIGHT / 2), round(WIDTH / 2)
    whole[top : top + HEIGHT, left : left + WIDTH] = picture()
    due = truth(picture())
    with Engine.load(path) as engine:
        found = engine.detect(whole, 0)
    assert len(found) == len(due)
    for some, true in zip(found, due, strict=True):
        corners = [(each * HEIGHT + top) for each in true.box[::2]]
        sides = [(each * WIDTH + left) for each in true.box[1::2]]
        assert [some.box.top, some.box.bottom] == pytest.approx(corners, abs=0.05)
        assert [some.box.left, some.box.right] == pytest.approx(sides, abs=0.05)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_boxes_are_upright(engine: Engine, orientation: int) -> None:
    """Of a file that EXIF turns, in every way that a picture comes."""
    upright = Image.fromarray(picture().repeat(2, axis=0).repeat(2, axis=1))
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # Pillow's transpositions
    stored = upright.transpose(undo[orientation]) if orientation > 1 else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    stored.save(file, "PNG", exif=exif)
    due = truth(picture())
    size = 2 * WIDTH, 2 * HEIGHT
    assert_same(engine.detect(file.getvalue(), 0), due, size)
    assert_same(engine.detect(Image.open(file), 0), due, size)


def test_boxes_lie_within_the_image(engine: Engine) -> None:
    for seed in range(5):
        for found in engine.detect(picture(seed), 0):
            left, top, right, bottom = found.box
            assert 0 <= left < right <= WIDTH
            assert 0 <= top < bottom <= HEIGHT
            assert isinstance(found.box, Box)


def test_a_higher_threshold_leaves_the_better_ones(engine: Engine) -> None:
    everything = engine.detect(picture(), 0)
    middle = everything[len(everything) // 2].score
    assert engine.detect(picture(), middle) == [each for each in everything if each.score > middle]
    assert engine.detect(picture(), 1) == []
    assert engine.detect(picture(), 0, max_objects=2) == everything[:2]
    assert engine.detect(picture(), 0, max_objects=10**9) == everything


@pytest.mark.parametrize("threshold", [-0.1, 1.5, float("nan"), "0.5", None, True, object()])
def test_a_threshold_out_of_range(engine: Engine, threshold: Any) -> None:
    with pytest.raises(InputError, match=r"threshold .*expected a number from 0 to 1"):
        engine.detect(picture(), threshold)


@pytest.mark.parametrize("most", [0, -1, 1.5, True])
def test_a_number_of_objects_that_is_none(engine: Engine, most: Any) -> None:
    with pytest.raises(InputError, match=r"max_objects .*at least 1"):
        engine.detect(picture(), 0.5, most)


def test_many_images(engine: Engine, tmp_path: Path) -> None:
    images = [picture(1), picture(2)]
    each = [engine.detect(image, 0) for image in images]
    assert engine.detect(images, 0) == each
    assert engine.detect(np.stack(images), 0) == each
    assert engine.detect([], 0) == []
    with pytest.raises(InputError, match="image 1 of the batch"):
        engine.detect([images[0], b"nothing"], 0)
    good, bad = engine.detect([images[0], b"nothing"], 0, errors="return")
    assert good == each[0]
    assert isinstance(bad, InputError)
    with pytest.raises(InputError, match="'raise' or 'return'"):
        engine.detect(images, errors="ignore")


def test_each_network_names_its_call(engine: Engine, small_model: Any) -> None:
    for call in (engine.predict, engine.embed, engine.logits):
        with pytest.raises(UnsupportedError, match=r"is a detector.*`detect`"):
            call(picture())
    with (
        Engine.load(small_model()) as classifier,
        pytest.raises(UnsupportedError, match=r"is no detector.*`predict`"),
    ):
        classifier.detect(np.zeros((32, 32, 3), np.uint8))


@pytest.mark.parametrize("backend", ["c", "numpy"])
def test_raw_boxes_are_those_of_the_oracle(path: Path, backend: str, small_model: Any) -> None:
    pixels = np.stack([picture(0), picture(1)])
    due = run(NETWORK, WEIGHTS, normalise(SPEC, pixels, np.float64), np.float64)
    with Engine.load(path, backend=backend) as engine:
        for given in (pixels, normalise(SPEC, pixels, np.float32)):
            for found, truth in zip(engine.raw_boxes(given), (due.boxes, due.scores), strict=True):
                assert truth is not None
                assert (found.shape, found.dtype) == (truth.shape, np.float32)
                assert np.abs(found - truth).max() < 1e-5 * np.abs(truth).max()
        with pytest.raises(InputError, match="NaN or infinite"):
            engine.raw_boxes(np.full((HEIGHT, WIDTH, 3), np.nan, np.float32))
    with (
        Engine.load(small_model()) as classifier,
        pytest.raises(UnsupportedError, match=r"is no detector.*`predict`"),
    ):
        classifier.raw_boxes(np.zeros((32, 32, 3), np.uint8))


def test_it_pickles_and_counts(engine: Engine) -> None:
    again = pickle.loads(pickle.dumps(engine))
    assert again.detect(picture(), 0) == engine.detect(picture(), 0)
    before = engine.stats().images
    engine.detect([picture(), picture()])
    assert engine.stats().images == before + 2


# The command


@pytest.fixture
def photograph(tmp_path: Path) -> Path:
    file = tmp_path / "photograph.png"
    Image.fromarray(picture()).save(file)
    return file


def test_the_command(
    path: Path, engine: Engine, photograph: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    due = engine.detect(photograph, 0.1)
    arguments = ["detect", str(photograph), "--model", str(path), "--threshold", "0.1"]
    assert main(arguments) == 0
    table = capsys.readouterr().out.splitlines()
    assert table[0] == str(photograph)
    assert len(table) == 1 + len(due) > 1
    assert main([*arguments, "--json", "--max-objects", "1"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["file"] == str(photograph)
    assert answer["objects"] == [{**due[0]._asdict(), "box": due[0].box._asdict()}]
    assert answer["ms"] > 0
    assert main([*arguments[:-1], "1"]) == 0
    assert "nothing found" in capsys.readouterr().out


def test_the_command_draws(
    path: Path, photograph: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "found.png"
    arguments = ["detect", str(photograph), "--model", str(path), "--draw", str(out)]
    assert main([*arguments, "--threshold", "0"]) == 0
    with Image.open(out) as drawn, Image.open(photograph) as before:
        assert drawn.size == before.size
        assert np.asarray(drawn).tolist() != np.asarray(before).tolist()
    assert main(arguments) == 2
    assert "--force" in capsys.readouterr().err
    assert main([*arguments, "--force"]) == 0
    folder = ["detect", str(tmp_path), *arguments[2:], "--force"]
    assert main(folder) == 2
    assert "expected one photograph" in capsys.readouterr().err
    jpeg = tmp_path / "found.jpg"
    assert main([*arguments[:-1], str(jpeg)]) == 2
    assert "ends in .png" in capsys.readouterr().err
    assert not jpeg.exists()


def test_the_command_says_what_is_wrong(
    path: Path, photograph: Path, small_model: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments, reason in (
        (["detect", str(photograph), "--model", str(small_model())], "is no detector"),
        (["detect", str(photograph), "--model", str(path), "--threshold", "2"], "from 0 to 1"),
        (["classify", str(photograph), "--model", str(path)], "`detect`"),
        (["embed", str(photograph), "--model", str(path)], "`detect`"),
        (["demo", "--draw", "x.png"], "--detect"),
        (["demo", "--detect", "--draw", "x.jpg"], "ends in .png"),
    ):
        assert main(arguments) == 2
        assert reason in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        main(["detect", str(photograph), "--model", str(path), "--threshold", "0,5"])
    assert "'0,5': expected a number from 0 to 1" in capsys.readouterr().err
    assert main(["detect", "missing.jpg", str(photograph), "--model", str(path)]) == 1
    assert "1 of 2 could not be answered" in capsys.readouterr().err


def test_commands_for_classifiers_say_what_to_call(
    path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("numba", reason="needs numba, the extra jit")
    for arguments, reason in (
        (["evaluate", str(path), str(tmp_path)], "--coco"),
        (["warmup", str(path)], "does not run"),
    ):
        assert main(arguments) == 2
        assert reason in capsys.readouterr().err


def test_info_plan_and_verify_know_detectors(
    path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", str(path), "--svg", str(tmp_path / "plan.svg")]) == 0
    assert "boxes" in (tmp_path / "plan.svg").read_text()
    capsys.readouterr()
    assert main(["info", str(path)]) == 0
    assert "boxes" in capsys.readouterr().out
    assert main(["plan", str(path)]) == 0
    assert "boxes" in capsys.readouterr().out
    assert main(["verify", str(path)]) == 0
    assert "sound" in capsys.readouterr().out


def test_objects_are_found_without_numpy(path: Path) -> None:
    """In the C core; NumPy is for arrays and for the definition."""
    script = (
        "import sys; from mnv2_engine import Engine; "
        f"size = ({HEIGHT}, {WIDTH}, 3); "
        "pixels = memoryview(bytes(range(1, 253)) * 100)[: size[0] * size[1] * 3].cast('B', size); "
        "found = Engine.load(sys.argv[1]).detect(pixels, 0); "
        "print(len(found), 'numpy' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(path)],
        cwd=path.parent,  # not the checkout, whose sources hide the installed package
        capture_output=True,
        text=True,
        check=True,
    )
    count, loaded = done.stdout.split()
    assert int(count) > 0
    assert loaded == "False"
