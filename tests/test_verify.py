"""`mnv2 verify` and engine.verify(): sound, or why not, and an exit code for health checks."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest

from mnv2_engine import Engine, ModelFileError
from mnv2_engine.cli import main
from mnv2_engine.model.modelfile import open_model


def test_a_sound_file(small_model, capsys):
    path = str(small_model())
    Engine.load(path).verify()
    assert main(["verify", path]) == 0
    assert capsys.readouterr() == (f"{path}: sound, mobilenet_v2_0.1_32, 0.4 MB of weights\n", "")
    assert main(["verify", path, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"file": path, "ok": True, "error": None}


def test_a_flipped_bit(small_model, capsys):
    path = small_model()
    with open_model(path) as model:
        at = model.tensors["head.weight"].offset
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)
    with pytest.raises(ModelFileError, match="checksum"):
        Engine.load(path).verify()
    assert main(["verify", str(path), "--json"]) == 1
    out, err = capsys.readouterr()
    assert json.loads(out)["ok"] is False
    assert "checksum" in json.loads(out)["error"]
    assert "checksum" in err


def test_what_cannot_be_opened(small_model, tmp_path, capsys):
    path = small_model()
    os.truncate(path, 5000)
    weights = dict(np.load(small_model(name="nan.npz")))
    weights["head.bias"][0] = np.nan
    np.savez(tmp_path / "nan.npz", **weights)
    for name in (path, tmp_path / "nan.npz", tmp_path / "absent.npz"):
        assert main(["verify", str(name)]) == 1
        assert "error: " in capsys.readouterr().err
