"""The public calls: every kind of input gives the same answer, every bad one an error."""

from __future__ import annotations

import array
import io
import threading
from typing import Any

import numpy as np
import pytest
from conftest import make_weights
from every_backend import backends, fused_backends
from native_network import SUPPORTED_ISAS

from mnv2_engine import Engine, InputError, MnvError, ModelFileError
from mnv2_engine.executors import reference
from mnv2_engine.model.input_spec import PRESETS
from mnv2_engine.model.modelfile import write_model
from mnv2_engine.network.families import mobilenet_v2

NETWORK = mobilenet_v2(0.35, (48, 40), 6)
LABELS = ["ant", "bee", "cat", "dog", "elk", "fox"]


@pytest.fixture(scope="module")
def model_path(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "model.npz"
    write_model(path, NETWORK, make_weights(NETWORK), PRESETS["imagenet"], LABELS, {})
    return path


@pytest.fixture(params=backends())
def engine(model_path, request, monkeypatch):
    name, isa = request.param
    if isa is not None:
        monkeypatch.setenv("MNV2_ISA", isa)
    with Engine.load(model_path, backend=name) as engine:
        assert (engine.info.backend, engine.info.isa) == (name, isa)
        yield engine


@pytest.fixture
def pixels():
    return np.random.default_rng(3).integers(0, 256, (48, 40, 3), np.uint8)


def truth(pixels: np.ndarray[Any, Any]) -> reference.Outputs:
    x = reference.normalise(PRESETS["imagenet"], pixels.reshape(-1, 48, 40, 3), np.float64)
    return reference.run(NETWORK, make_weights(NETWORK), x, np.float64)


def test_logits_of_pixels(engine, pixels):
    found = engine.logits(pixels)
    assert found.shape == (1, 6)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, truth(pixels).logits, rtol=0, atol=2e-5)


def test_logits_of_a_batch_are_those_of_its_images(engine):
    batch = np.random.default_rng(4).integers(0, 256, (5, 48, 40, 3), np.uint8)
    found = engine.logits(batch)
    for image, row in zip(batch, found, strict=True):
        np.testing.assert_array_equal(engine.logits(image)[0], row)
    assert engine.logits(batch[:0]).shape == (0, 6)


def test_normalised_floats_are_used_as_they_are(engine, pixels):
    x = reference.normalise(PRESETS["imagenet"], pixels)
    np.testing.assert_allclose(engine.logits(x), truth(pixels).logits, rtol=0, atol=2e-5)


def layouts(pixels: np.ndarray[Any, Any]) -> dict[str, Any]:
    wide = np.zeros((48, 80, 6), pixels.dtype)
    wide[:, ::2, ::2] = pixels
    read_only = pixels.copy()
    read_only.flags.writeable = False
    return {
        "fortran": np.asfortranarray(pixels),
        "strided": wide[:, ::2, ::2],
        "reversed": pixels[::-1, ::-1].copy()[::-1, ::-1],
        "channels first, transposed": np.ascontiguousarray(pixels.transpose(2, 0, 1)).transpose(
            1, 2, 0
        ),
        "read only": read_only,
        "memoryview": memoryview(pixels),
        "bytes, cast": memoryview(pixels.tobytes()).cast("B").cast(pixels.dtype.char, pixels.shape),
    }


@pytest.mark.parametrize("layout", layouts(np.zeros((48, 40, 3), np.uint8)))
def test_any_memory_layout_gives_the_same_answer(engine, pixels, layout):
    expected = engine.logits(pixels)
    np.testing.assert_array_equal(engine.logits(layouts(pixels)[layout]), expected)
    assert engine.predict(layouts(pixels)[layout]) == engine.predict(pixels)
    x = reference.normalise(PRESETS["imagenet"], pixels)
    np.testing.assert_array_equal(engine.logits(layouts(x)[layout]), engine.logits(x))


def test_predictions_are_the_softmax_of_the_logits(engine, pixels):
    logits = truth(pixels).logits[0]
    shares = np.exp(logits - logits.max())
    shares /= shares.sum()
    found = engine.predict(pixels, top_k=6)
    assert [p.index for p in found] == list(np.argsort(-logits))
    assert [p.label for p in found] == [LABELS[p.index] for p in found]
    np.testing.assert_allclose([p.probability for p in found], sorted(shares)[::-1], atol=1e-5)
    assert engine.predict(pixels, top_k=100) == found
    assert engine.predict(pixels, top_k=2) == found[:2]


def test_a_picture_by_path_bytes_and_object(engine, tmp_path):
    image_module = pytest.importorskip("PIL.Image", reason="Pillow (the extra cli) is absent")
    picture = image_module.effect_mandelbrot((90, 70), (-2, -1.5, 1, 1.5), 50).convert("RGB")
    path = tmp_path / "picture.png"
    picture.save(path)
    expected = engine.predict(picture)
    assert engine.predict(path) == expected
    assert engine.predict(str(path)) == expected
    assert engine.predict(path.read_bytes()) == expected
    assert engine.predict(bytearray(path.read_bytes())) == expected
    assert engine.predict(np.asarray(picture)) == expected  # resized like the file
    assert engine.predict(memoryview(np.asarray(picture))) == expected


def test_many_images_give_a_list_of_answers(engine, pixels):
    other = pixels[::-1].copy()
    expected = [engine.predict(pixels), engine.predict(other)]
    assert engine.predict([pixels, other]) == expected
    assert engine.predict((pixels, other)) == expected
    assert engine.predict(np.stack([pixels, other])) == expected
    assert engine.predict([]) == []


def test_features(engine, pixels):
    expected = truth(pixels).features
    found = engine.embed(pixels)
    assert found.shape == (1280,)
    np.testing.assert_allclose(found, expected[0], rtol=0, atol=1e-5)
    assert engine.embed([pixels, pixels]).shape == (2, 1280)
    assert engine.embed([]).shape == (0, 1280)


FLOATS = np.zeros((48, 40, 3), np.float32)
BAD_LOGITS = {
    "float64": (FLOATS.astype(np.float64), "format 'd'"),
    "float16": (FLOATS.astype(np.float16), "format 'e'"),
    "int64": (FLOATS.astype(np.int64), "format 'l'|format 'q'"),
    "bool": (FLOATS.astype(bool), r"format '\?'"),
    "big-endian": (FLOATS.astype(">f4"), "other byte order.*format '>f'"),
    "objects": (np.full((48, 40, 3), None), "format 'O'"),
    "rank 2": (FLOATS[0], r"shape \(40, 3\)"),
    "rank 5": (FLOATS[None, None], r"shape \(1, 1, 48, 40, 3\)"),
    "one channel": (FLOATS[..., :1], r"shape \(48, 40, 1\)"),
    "four channels": (np.zeros((48, 40, 4), np.uint8), r"shape \(48, 40, 4\)"),
    "channels first": (np.zeros((3, 48, 40), np.uint8), r"shape \(3, 48, 40\)"),
    "another size": (np.zeros((40, 48, 3), np.uint8), "predict. resizes"),
    "no pixels": (np.zeros((0, 40, 3), np.uint8), r"shape \(0, 40, 3\)"),
    "no array": (3, "int"),
    "a path": ("photo.jpg", "str"),
    "none": (None, "NoneType"),
    "flat": (array.array("f", [0.0] * 10), r"shape \(10\)"),
}


@pytest.mark.parametrize("case", BAD_LOGITS)
def test_bad_arrays_for_logits(engine, case):
    given, says = BAD_LOGITS[case]
    with pytest.raises(InputError, match=says):
        engine.logits(given)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("at", [0, 4095, 4096, 48 * 40 * 3 - 1])
def test_values_that_are_not_finite(engine, value, at):
    x = np.zeros(48 * 40 * 3, np.float32)
    x[at] = value
    with pytest.raises(InputError, match=rf"value {at} .*finite"):
        engine.logits(x.reshape(48, 40, 3))


def test_the_largest_finite_values_do_not_crash(model_path):
    """They overflow to infinity inside, which ReLU6 clips; the reference would warn."""
    with pytest.warns(RuntimeWarning, match="normalised"):
        found = Engine.load(model_path).logits(np.full((48, 40, 3), np.finfo(np.float32).max))
    assert found.shape == (1, 6)


BAD_PREDICT = {
    "floats": (FLOATS, "logits"),
    "rank 2": (np.zeros((48, 40), np.uint8), r"shape \(48, 40\)"),
    "no width": (np.zeros((48, 0, 3), np.uint8), "zero"),
    "two channels": (np.zeros((48, 40, 2), np.uint8), "RGB"),
    "in a batch": ([np.zeros((48, 40, 3), np.uint8), 3], "image 1 of the batch"),
    "batch of floats": (FLOATS[None], "logits"),
    "not an image": (object(), "object"),
    "absent file": ("no such photo.jpg", "no such photo.jpg"),
    "no image in bytes": (b"GIF89a, but not really", "encoded image"),
}


@pytest.mark.parametrize("case", BAD_PREDICT)
def test_bad_images_for_predict_and_embed(engine, case):
    pytest.importorskip("PIL.Image", reason="Pillow (the extra cli) is absent")
    given, says = BAD_PREDICT[case]
    for call in (engine.predict, engine.embed):
        with pytest.raises(InputError, match=says):
            call(given)


@pytest.mark.parametrize("top_k", [0, -1, 2.0, "5", True, None])
def test_bad_top_k(engine, pixels, top_k):
    with pytest.raises(InputError, match="top_k"):
        engine.predict(pixels, top_k=top_k)


def test_an_array_like_that_fails_is_an_input_error(engine):
    class Broken:
        def __array__(self, *_: object, **__: object) -> None:
            raise RuntimeError("no data today")

    with pytest.raises(InputError, match="no data today"):
        engine.logits(Broken())


def test_foreign_arrays_convert(engine, pixels):
    class Tensor:
        def __array__(self, *_: object, **__: object) -> np.ndarray[Any, Any]:
            return pixels

    np.testing.assert_array_equal(engine.logits(Tensor()), engine.logits(pixels))


def test_a_closed_engine_says_so(model_path, pixels):
    engine = Engine.load(model_path)
    engine.predict(pixels)
    engine.close()
    engine.close()
    assert "closed" in repr(engine)
    for call in (engine.predict, engine.logits, engine.embed):
        with pytest.raises(InputError, match="closed"):
            call(pixels)
    with pytest.raises(InputError, match="closed"):
        engine.info  # noqa: B018
    assert engine.memory_plan().arena_bytes > 0


def test_loading_what_is_not_a_model(tmp_path):
    with pytest.raises(ModelFileError, match="absent"):
        Engine.load(tmp_path / "absent.npz")
    with pytest.raises(InputError, match="backend 'gpu'"):
        Engine.load(tmp_path / "absent.npz", backend="gpu")


def test_info_tells_what_runs(model_path):
    info = Engine.load(model_path).info
    assert info.backend == "c"
    assert info.threads == 1
    assert info.isa == SUPPORTED_ISAS[0]
    assert info.mapped
    assert info.network == NETWORK
    assert info.input_spec == PRESETS["imagenet"]
    assert info.labels == 6
    for text in ("mobilenet_v2_0.35_48x40", "mapped", info.isa):
        assert text in str(info)


def test_a_model_without_labels_numbers_its_classes(tmp_path, pixels):
    path = tmp_path / "unlabelled.npz"
    write_model(path, NETWORK, make_weights(NETWORK), PRESETS["tf"], None, {})
    best = Engine.load(path).predict(pixels, top_k=1)[0]
    assert best.label == f"class {best.index}"


@pytest.mark.parametrize("threads_of_its_own", [1, 3])
@pytest.mark.parametrize("backend", fused_backends())
def test_many_threads_share_an_engine(model_path, threads_of_its_own, backend):
    if backend == "numba" and threads_of_its_own > 1:
        pytest.skip("the numba backend has no threads of its own")
    engine = Engine.load(model_path, threads=threads_of_its_own, backend=backend)
    images = np.random.default_rng(5).integers(0, 256, (8, 48, 40, 3), np.uint8)
    expected = engine.logits(images)
    wrong: list[int] = []

    def work(which: int) -> None:
        for _ in range(50):
            if not np.array_equal(engine.logits(images[which])[0], expected[which]):
                wrong.append(which)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert len(engine._executor._arenas) <= 1  # those of overlapping calls were given back


@pytest.mark.parametrize("backend", fused_backends())
def test_closing_while_another_thread_predicts_is_safe(model_path, pixels, backend):
    for _ in range(20):
        engine = Engine.load(model_path, backend=backend)
        outcomes: list[object] = []

        def work(engine: Engine = engine, outcomes: list[object] = outcomes) -> None:
            try:
                while True:
                    engine.logits(pixels)
            except MnvError as error:
                outcomes.append(error)

        thread = threading.Thread(target=work)
        thread.start()
        engine.close()
        thread.join(timeout=10)
        assert len(outcomes) == 1
        assert isinstance(outcomes[0], InputError)


@pytest.mark.parametrize("backend", fused_backends())
def test_the_interpreter_runs_while_the_core_computes(tmp_path, backend):
    """A thread that only counts goes on counting during one long call."""
    network = mobilenet_v2(1.4, 1024, 2)
    path = tmp_path / "large.npz"
    write_model(path, network, make_weights(network), PRESETS["tf"], None, {})
    engine = Engine.load(path, backend=backend)
    x = np.zeros((1, 1024, 1024, 3), np.uint8)
    running, counted = threading.Event(), []

    def compute() -> None:
        running.set()
        engine.logits(x)
        counted.append(-1)

    thread = threading.Thread(target=compute)
    thread.start()
    running.wait()
    while thread.is_alive():
        counted.append(1)
        thread.join(timeout=0.001)
    # With the lock held, the loop could not turn between the start and the end of the call.
    assert counted.index(-1) > 5


def test_an_encoded_image_in_a_stream_buffer(engine):
    image_module = pytest.importorskip("PIL.Image", reason="Pillow (the extra cli) is absent")
    buffer = io.BytesIO()
    image_module.new("RGB", (64, 64), (200, 30, 30)).save(buffer, "PNG")
    assert engine.predict(buffer.getbuffer()) == engine.predict(buffer.getvalue())
