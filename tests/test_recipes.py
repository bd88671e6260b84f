"""The recipes of docs/many-machines.md, as they stand; with --every, as they start processes."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mnv2_engine import Engine

PAGE = Path(__file__).parents[1] / "docs" / "many-machines.md"
Image = pytest.importorskip("PIL.Image")

pytestmark = pytest.mark.skipif(not PAGE.is_file(), reason="the page is in a clone only")


@pytest.fixture
def every(request):
    if not request.config.getoption("--every"):
        pytest.skip("starts Dask's or Spark's processes; --every does")


@pytest.fixture
def photographs(tmp_path, small_model) -> dict[str, int | None]:
    """Twelve photographs in a folder beside a model: the class of each, None of a broken one."""
    model = small_model(labels=["ant", "bee", "cat", "dog", "eel"], name="mnv2.npz")
    (tmp_path / "photos").mkdir()
    expected: dict[str, int | None] = {}
    with Engine.load(model) as engine:
        for i in range(12):
            path = tmp_path / "photos" / f"{i}.jpg"
            pixels = np.random.default_rng(i).integers(0, 256, (40, 50, 3), np.uint8)
            Image.fromarray(pixels).save(path)
            expected[path.name] = engine.predict(path, top_k=1)[0].index
    (tmp_path / "photos" / "5.jpg").write_bytes(b"no photograph")
    return {**expected, "5.jpg": None}


def run(name: str, folder: Path, after: str = "") -> None:
    """Run the recipe, a script of its own, in `folder`."""
    found = re.search(
        rf"<!-- recipe: {name} -->\n+```python\n(.*?)```", PAGE.read_text(), re.DOTALL
    )
    assert found is not None
    script = folder / f"{name}_recipe.py"
    script.write_text(found[1] + after)
    environment = {**os.environ, "PYSPARK_PYTHON": sys.executable, "SPARK_LOCAL_IP": "127.0.0.1"}
    done = subprocess.run(
        [sys.executable, str(script)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]


def test_dask(every, tmp_path, photographs):
    pytest.importorskip("dask.bag", reason="Dask (the extra test-ray) is absent")
    run("dask", tmp_path, '\n    import json\n    json.dump(answers, open("answers.json", "w"))\n')
    import json

    answers: list[dict[str, Any]] = json.loads((tmp_path / "answers.json").read_text())
    assert {Path(each["file"]).name: each.get("index") for each in answers} == photographs
    assert [each["file"] for each in answers if each["error"]] == ["photos/5.jpg"]


def test_spark(every, tmp_path, photographs):
    pytest.importorskip("pyspark.sql", reason="Spark (the extra test-ray) is absent")
    parquet = pytest.importorskip("pyarrow.parquet")
    if shutil.which("java") is None:
        pytest.skip("Spark needs Java: apt install default-jre-headless")
    run("spark", tmp_path)
    answers = parquet.read_table(tmp_path / "answers").to_pylist()
    assert len(answers) == 12
    assert {Path(each["path"]).name: each["index"] for each in answers} == photographs
    assert [Path(each["path"]).name for each in answers if each["error"]] == ["5.jpg"]
