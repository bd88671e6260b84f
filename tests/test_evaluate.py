"""`evaluate` and `mnv2 evaluate`: folders of images through whole models, ended and taken up."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import make_weights, small_network
from int8_network import random_int8
from test_peers import installed, onnx_file

from mnv2_engine.cli import main
from mnv2_engine.errors import InputError, MissingExtraError
from mnv2_engine.evaluate import evaluate
from mnv2_engine.evaluate.statistics import wilson
from mnv2_engine.executors import integer, reference
from mnv2_engine.model.input_spec import PRESETS
from mnv2_engine.model.modelfile import open_model, write_model
from mnv2_engine.network.families import mobilenet_v2

Image = pytest.importorskip("PIL.Image")

LABELS = ["ant", "bee", "cat", "dog", "eel", "fox", "gnu", "hen"]
NETWORK = small_network(len(LABELS))
IMAGES = 12


@pytest.fixture
def model(small_model) -> str:
    return str(small_model(NETWORK, labels=LABELS))


@pytest.fixture
def int8_model(tmp_path) -> str:
    path = tmp_path / "int8.npz"
    weights, quantization = random_int8(NETWORK)
    write_model(path, NETWORK, weights, PRESETS["tf"], LABELS, {}, quantization)
    return str(path)


@pytest.fixture
def photos(tmp_path) -> Path:
    """Images of the network's own size in folders of three classes, by name in the order of
    `frames`."""
    for i, frame in enumerate(frames()):
        path = tmp_path / "photos" / LABELS[i * 3 // IMAGES] / f"{i:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(frame).save(path)
    return tmp_path / "photos"


def frames() -> np.ndarray:
    shape = (IMAGES, *NETWORK.resolution, 3)
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


TRUTH = np.arange(IMAGES) * 3 // IMAGES


def float64_logits(path: str, pixels: np.ndarray) -> np.ndarray:
    with open_model(path) as opened:
        x = reference.normalise(opened.input_spec, pixels, np.float64)
        return reference.run(opened.network, opened.weights(), x, np.float64).logits


def integer_logits(path: str, pixels: np.ndarray) -> np.ndarray:
    with open_model(path) as opened:
        return np.concatenate(
            [
                integer.run(
                    opened.network,
                    opened.weights(),
                    opened.quantization,
                    opened.input_spec,
                    one[np.newaxis],
                ).logits
                for one in pixels
            ]
        )


@pytest.fixture
def run(capsys):
    def call(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        try:
            code = main(["evaluate", *(str(each) for each in arguments)])
        except SystemExit as end:  # of argparse
            code = int(end.code or 0)
        return code, *capsys.readouterr()

    return call


# --- what is found ------------------------------------------------------------------------


def test_accuracy_is_that_of_the_float64_reference(model, photos):
    report = evaluate(model, photos)
    order = np.argsort(-float64_logits(model, frames()), 1)
    assert report.accuracy is not None
    assert report.accuracy.top1 == wilson(int((order[:, 0] == TRUTH).sum()), IMAGES)
    five = (order[:, :5] == TRUTH[:, None]).any(1).sum()
    assert report.accuracy.top5 == wilson(int(five), IMAGES)
    assert 0 < five < IMAGES
    assert (report.images, report.answered, report.with_class) == (IMAGES,) * 3
    assert (report.classes, report.unreadable, report.against) == ("folder", 0, None)
    assert set(report.ms) == {"decode", "resize", "network"}
    assert report.slowest in report.ms


def test_agreement_is_that_of_two_references(model, int8_model, photos):
    other = evaluate(int8_model, photos, against=model, classes="none").against
    mine = integer_logits(int8_model, frames())
    theirs = float64_logits(model, frames())
    assert other is not None
    assert other.accuracy is None
    same = mine.argmax(1) == theirs.argmax(1)
    assert other.agreement.first == wilson(int(same.sum()), IMAGES)
    apart = np.abs(mine - theirs)
    assert apart.mean() > 0.1  # other weights
    assert other.differences.mean == pytest.approx(apart.mean(), rel=1e-4)
    assert other.differences.max == pytest.approx(apart.max(), rel=1e-4)
    assert other.differences.median == pytest.approx(np.median(apart), rel=0.05)
    worst = int(apart.max(1).argmax())
    assert other.largest[0].file == f"{LABELS[TRUTH[worst]]}/{worst:02}.png"
    assert other.largest[0].at == apart[worst].argmax()


def test_another_model_keeps_its_own_size_and_preprocessing(model, small_model, photos):
    """Both resized by Pillow: the one to 32 pixels as they are, the other out of them to 48."""
    network = mobilenet_v2(0.1, 48, len(LABELS), divisor=4)
    spec = PRESETS["imagenet"]._replace(crop_fraction=1.0)
    path = str(small_model(network, seed=1, input_spec=spec, name="other.npz"))
    notes: list[str] = []

    class Notes:
        def note(self, text):
            notes.append(text)

        def begin(self, total, done): ...
        def unreadable(self, reason): ...
        def advance(self): ...

    other = evaluate(model, photos, against=path, watcher=Notes()).against
    assert any("resizes, crops or normalises images otherwise" in note for note in notes)
    larger = [Image.fromarray(x).resize((48, 48), Image.Resampling.BILINEAR) for x in frames()]
    theirs = float64_logits(path, np.stack([np.asarray(each) for each in larger]))
    apart = np.abs(float64_logits(model, frames()) - theirs)
    assert other is not None
    assert other.differences.mean == pytest.approx(apart.mean(), rel=1e-4)


@pytest.mark.parametrize("peer", ["onnxruntime", "openvino"])
def test_a_peer_gets_the_same_pixels_normalised(peer, model, photos, tmp_path):
    installed(peer)
    weight = np.random.default_rng(0).normal(size=(3, len(LABELS))).astype(np.float32) * 20
    path = onnx_file(tmp_path / "colours.onnx", True, weight, NETWORK.resolution[0])
    other = evaluate(model, photos, against=f"{peer}:{path}").against
    theirs = (frames() / 127.5 - 1).mean((1, 2)) @ weight
    apart = np.abs(float64_logits(model, frames()) - theirs)
    assert other is not None
    assert other.accuracy is not None
    assert other.accuracy.top1.hits == (theirs.argmax(1) == TRUTH).sum()
    assert other.differences.mean == pytest.approx(apart.mean(), rel=1e-4)
    assert other.differences.rms == pytest.approx(np.sqrt((apart**2).mean()), rel=1e-4)


def test_photographs_are_answered_as_their_references(shared, tmp_path):
    """Accuracy and differences from stored logits of the same weights, by onnxruntime."""
    from mnv2_engine.convert import convert

    stored = np.load(shared / "images" / "references.npz")
    path = str(tmp_path / "model.npz")
    source = shared / "checkpoints" / "mobilenet_v2_1.0_224_tfslim_fp32.npz"
    convert(source, path, padding="same", preprocess="tf", labels="imagenet")
    out = tmp_path / "results.jsonl"
    photographs = tmp_path / "photographs"  # without the turned ones, which have no classes
    photographs.mkdir()
    for photograph in (shared / "images").glob("n*.JPEG"):
        (photographs / photograph.name).symlink_to(photograph)
    report = evaluate(path, photographs, limit=6, out=str(out))
    chosen = [i * 24 // 6 for i in range(6)]
    right = stored["tfslim_fp32"].argmax(1) == stored["labels"] + 1  # background comes first
    assert report.classes == "prefix"
    assert report.accuracy is not None
    assert report.accuracy.top1 == wilson(int(right[chosen].sum()), 6)
    records = [json.loads(line) for line in out.read_text().splitlines()[1:]]
    assert [record["truth"] for record in records] == (stored["labels"][chosen] + 1).tolist()
    first = np.argsort(-stored["tfslim_fp32"][chosen], 1)[:, :5]
    assert [record["top"] for record in records] == first.tolist()


# --- what is printed ----------------------------------------------------------------------


def test_the_report_is_printed(run, model, int8_model, photos):
    code, out, err = run(int8_model, photos, "--against", model)
    assert (code, err) == (0, "")
    report = evaluate(int8_model, photos, against=model)
    for line in str(report).splitlines()[:-1]:  # the last has times
        assert line in out
    assert "classes by    folder; intervals of 95 %" in out
    assert f"of {IMAGES}" in out
    assert "the slowest is" in out.splitlines()[-1]
    code, out, err = run(int8_model, photos, "--against", model, "--json")
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert report.accuracy is not None
    assert found["accuracy"]["top1"] == report.accuracy.top1._asdict()
    assert found["against"]["differences"]["max"] == report.against.differences.max
    assert set(found["ms"]) == {"decode", "resize", "network", "other"}


def test_unreadable_images_are_counted_named_and_skipped(run, model, photos):
    broken = photos / "ant" / "00.png"
    broken.write_bytes(broken.read_bytes()[:100])
    code, out, err = run(model, photos, "--json")
    assert code == 1
    found = json.loads(out)
    assert (found["images"], found["answered"], found["unreadable"]) == (IMAGES, IMAGES - 1, 1)
    assert found["accuracy"]["top1"]["of"] == IMAGES - 1
    lines = err.splitlines()
    assert lines[0].startswith(f"mnv2: {broken}: cannot be decoded")
    assert lines[-1] == f"mnv2: 1 of {IMAGES} images could not be read"
    assert found["unreadable_files"] == [lines[0].removeprefix("mnv2: ")]
    code, out, err = run(model, photos)
    assert f"images        {IMAGES - 1} of {photos} (1 could not be read)" in out
    code, out, err = run(model, photos, "--strict")
    assert (code, out) == (2, "")
    assert err.startswith(f"mnv2: error: {broken}: cannot be decoded")


def test_classes_that_do_not_match_are_told(run, model, photos):
    (photos / "cat").rename(photos / "unicorn")
    code, out, err = run(model, photos, "--json")
    assert code == 0
    assert "class is none of the model's, and that count towards no accuracy: 4 ('unicorn')" in err
    found = json.loads(out)
    assert found["unmatched"] == {"unicorn": 4}
    assert found["accuracy"]["top1"]["of"] == found["with_class"] == IMAGES - 4
    code, out, err = run(model, photos)
    assert "(4 without a class of the model's)" in out
    code, out, err = run(model, photos, "--strict")
    assert (code, out) == (2, "")
    assert "('unicorn'); --strict refuses that" in err


def test_without_classes_there_is_agreement_alone(run, model, int8_model, photos):
    for name in LABELS[:3]:
        (photos / name).rename(photos / f"{name}s")
    code, out, err = run(model, photos)
    assert (code, out) == (2, "")
    assert "nothing to measure: no true classes: neither sub-folders nor the beg" in err
    assert "(--against)" in err
    code, out, err = run(model, photos, "--against", int8_model)
    assert code == 0
    assert "accuracy      not known: no image's class is said" in out
    assert "same first" in out
    assert "top-1" not in out
    assert "note: no true classes" in err


def test_indices_are_the_models_own(run, model, photos):
    by_name = evaluate(model, photos)
    for index, name in enumerate(LABELS[:3]):
        (photos / name).rename(photos / str(index + 2))
    code, out, _ = run(model, photos, "--classes", "folder", "--index-offset", "-2", "--json")
    assert code == 0
    assert by_name.accuracy is not None
    assert json.loads(out)["accuracy"]["top1"] == by_name.accuracy.top1._asdict()
    code, _, err = run(model, photos, "--classes", "folder", "--index-offset", "6")
    assert code == 2
    assert "the class '2' (with the offset +6: 8) is no index of the model's 8 classes" in err


@pytest.mark.parametrize(
    ("against", "message"),
    [
        ("absent.npz", "absent.npz: no such file; expected a model file, or PEER:FILE"),
        ("onnxruntime", "expected its file too, onnxruntime:FILE.onnx"),
        ("onnxruntime:absent.onnx", "absent.onnx: no such file"),
        ("FEWER", "has 5 classes, "),
        ("ORDER", "has the classes of .* in another order"),
    ],
)
def test_whom_a_model_cannot_be_compared_with(against, message, model, small_model, photos):
    if against.startswith("onnxruntime"):
        installed("onnxruntime")
    made = {"FEWER": (small_network(), None), "ORDER": (NETWORK, LABELS[::-1])}
    if against in made:
        network, labels = made[against]
        against = str(small_model(network, labels=labels, name="other.npz"))
    with pytest.raises(InputError, match=message):
        evaluate(model, photos, against=against)


def test_an_absent_peer_is_an_extra(model, photos, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingExtraError, match=r"mnv2-engine\[bench\]"):
        evaluate(model, photos, against="onnxruntime:file.onnx")


def test_a_bar_only_where_someone_watches(run, model, photos, tmp_path, monkeypatch):
    pytest.importorskip("tqdm")
    out = tmp_path / "results.jsonl"
    (photos / "ant" / "01.png").write_bytes(b"no image")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    code, printed, err = run(model, photos, "--out", out, "--json")
    assert code == 1
    assert json.loads(printed)["images"] == IMAGES
    assert f"{IMAGES}/{IMAGES}" in err
    assert "01.png: cannot be decoded" in err
    monkeypatch.setitem(sys.modules, "tqdm", None)
    _, again, err = run(model, photos, "--json")
    assert f"/{IMAGES}" not in err
    assert json.loads(again)["accuracy"] == json.loads(printed)["accuracy"]


# --- ended, and taken up again ------------------------------------------------------------

BLOCKED = 7  # the image that a process waits for


def without_times(path: Path) -> list[dict]:
    records = [json.loads(line) for line in path.read_text().splitlines()]
    return [{key: record[key] for key in record if key != "ms"} for record in records]


WAITING = """
import sys, time
from mnv2_engine.evaluate import run as module

load = module.load_image
def waiting(path):
    while path == sys.argv[1]:
        time.sleep(0.01)
    return load(path)
module.load_image = waiting

from mnv2_engine.cli import main
sys.exit(main(sys.argv[2:]))
"""


def blocked_run(model: str, against: str, photos: Path, out: Path) -> subprocess.Popen:
    """A process that has written all images before the blocked one, and waits for that."""
    image = next(photos.glob(f"*/{BLOCKED:02}.png"))
    command = [sys.executable, "-c", WAITING, str(image), "evaluate", model, str(photos)]
    arguments = ["--against", against, "--out", str(out)]
    process = subprocess.Popen(
        [*command, *arguments],
        cwd=photos,  # not the checkout, whose sources hide the installed package
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # What runs the tests may ignore it, as a shell's background jobs do.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 60
    while not out.exists() or out.read_bytes().count(b"\n") < 1 + BLOCKED:
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            pytest.fail(f"the run did not come to its image {BLOCKED}: {process.communicate()}")
        time.sleep(0.01)
    return process


@pytest.mark.parametrize("end", ["SIGKILL", "SIGINT"])
def test_a_run_that_was_ended_goes_on_where_it_stopped(
    end, run, model, int8_model, photos, tmp_path, monkeypatch
):
    whole, out = tmp_path / "whole.jsonl", tmp_path / "results.jsonl"
    arguments = (int8_model, photos, "--against", model, "--out")
    assert run(*arguments, whole)[0] == 0
    process = blocked_run(int8_model, model, photos, out)
    process.send_signal(getattr(signal, end))
    printed, err = process.communicate(timeout=60)
    assert printed == ""
    if end == "SIGINT":
        assert process.returncode == 130
        assert err.endswith(
            f"stopped after {BLOCKED} of {IMAGES} images: they are kept, and the same command goes "
            "on from there\n"
        )
    else:
        with open(out, "ab") as file:  # as if killed within a line
            file.write(b'{"n":7,"file":"bee/07.p')
    from mnv2_engine.evaluate import run as module

    answered = []
    load = module.load_image
    monkeypatch.setattr(module, "load_image", lambda path: answered.append(path) or load(path))
    code, resumed, err = run(*arguments, out, "--json")
    assert code == 0
    assert f"note: {BLOCKED} of {IMAGES} images are done already" in err
    assert len(answered) == IMAGES - BLOCKED
    assert without_times(out) == without_times(whole)
    # Once more: nothing is left to do, and the report is the same.
    before = out.read_bytes()
    code, again, _ = run(*arguments, out, "--json")
    assert (code, again) == (0, resumed)
    assert out.read_bytes() == before
    assert len(answered) == IMAGES - BLOCKED
    code, uninterrupted, _ = run(*arguments, whole, "--json")
    timeless = [json.loads(text) | {"ms": 0, "slowest": ""} for text in (resumed, uninterrupted)]
    assert timeless[0] == timeless[1]


@pytest.mark.parametrize("change", ["model", "against", "images", "classes", "records"])
def test_results_of_another_run_are_refused(
    change, run, model, int8_model, small_model, photos, tmp_path
):
    out = tmp_path / "results.jsonl"
    assert run(model, photos, "--against", int8_model, "--out", out)[0] == 0
    before = out.read_bytes()
    arguments: list[object] = [model, photos, "--against", int8_model, "--out", out]
    expected = f"results of another run: {change} differ"
    if change == "model":
        arguments[0] = small_model(NETWORK, seed=5, labels=LABELS, name="new.npz")
    elif change == "against":
        arguments[3] = small_model(NETWORK, seed=5, labels=LABELS, name="new.npz")
    elif change == "images":
        (photos / "ant" / "00.png").rename(photos / "ant" / "000.png")
    elif change == "classes":
        arguments += ["--classes", "none"]
    else:
        lines = before.splitlines(keepends=True)
        out.write_bytes(lines[0] + lines[1].replace(b'"top"', b'"pot"') + lines[2])
        before, expected = out.read_bytes(), "line 2 is no result of this run"
    code, printed, err = run(*arguments)
    assert (code, printed) == (2, "")
    assert expected in err
    assert out.read_bytes() == before
    assert run(*arguments, "--force")[0] == 0
    assert len(out.read_bytes().splitlines()) == 1 + IMAGES


def test_unreadable_images_are_kept_among_the_results(run, model, photos, tmp_path):
    out = tmp_path / "results.jsonl"
    (photos / "ant" / "01.png").write_bytes(b"no image")
    code, first, _ = run(model, photos, "--out", out, "--json")
    assert code == 1
    code, second, err = run(model, photos, "--out", out, "--json")
    assert (code, second) == (1, first)
    assert f"1 of {IMAGES} images could not be read" in err


def test_logits_that_are_not_finite_are_no_answer(tmp_path, photos):
    weights = make_weights(NETWORK)
    weights["classifier.weight"][:] = np.float32(3e38)
    path = tmp_path / "overflowing.npz"
    write_model(path, NETWORK, weights, PRESETS["tf"], LABELS, {})
    report = evaluate(path, photos)
    assert (report.answered, report.unreadable) == (0, IMAGES)
    assert report.accuracy is None
    assert "the network's logits are not all finite" in report.unreadable_files[0]
    assert str(report)


def test_a_long_run_takes_no_more_memory_than_a_short_one(model, photos, tmp_path):
    """Neither names of images nor their results are gathered."""
    rollup = Path("/proc/self/smaps_rollup")
    if not rollup.exists():
        pytest.skip("needs Linux's smaps_rollup")
    image = photos / "ant" / "00.png"
    for i in range(3000):
        path = tmp_path / "many" / LABELS[i % 8] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        os.link(image, path)
    script = """
import sys
from mnv2_engine.evaluate import evaluate

class Watcher:
    images, seen = 0, {}
    def note(self, text): ...
    def begin(self, total, done): ...
    def unreadable(self, reason): raise SystemExit(reason)
    def advance(self):
        self.images += 1
        if self.images in (300, 3000):
            with open("/proc/self/smaps_rollup") as file:
                rows = [line.split() for line in file]
            self.seen[self.images] = next(int(row[1]) for row in rows if row[0] == "Anonymous:")

evaluate(sys.argv[1], sys.argv[2], against=sys.argv[1], out=sys.argv[3], watcher=Watcher())
print(Watcher.seen[3000] - Watcher.seen[300])
"""
    arguments = [model, str(tmp_path / "many"), str(tmp_path / "results.jsonl")]
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    # 2700 records as Python objects would be 3 MiB and more.
    assert int(done.stdout) < 512
