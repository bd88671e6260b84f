"""`mnv2 bench --service`: memory by the worker."""

from __future__ import annotations

import json
import os
from importlib.util import find_spec
from pathlib import Path

import pytest

from mnv2_engine import MnvError
from mnv2_engine.bench.service import (
    BEGIN,
    END,
    ServiceMemory,
    WorkerMemory,
    put_table,
    service_memory,
)
from mnv2_engine.cli import main

pytest.importorskip("PIL.Image", reason="Pillow (the extra serve) is absent")

pytestmark = [
    pytest.mark.skipif(find_spec("uvicorn") is None, reason="uvicorn (the extra serve) is absent"),
    pytest.mark.skipif(not os.path.exists("/proc/self/smaps_rollup"), reason="needs Linux's /proc"),
]


def test_workers_share_what_the_parent_has_loaded(small_model):
    found = service_memory(str(small_model()), [], workers=[3])
    late, early = found.rows
    assert (late.preloaded, early.preloaded) == (False, True)
    assert 1 < early.megabytes < 200
    assert 1 < late.megabytes < 200
    assert "after the fork" in str(found)


def test_the_table_of_the_command(small_model, capsys, monkeypatch):
    rows = (WorkerMemory("mnv2", 2, False, 1.25), WorkerMemory("litert", 2, True, 3.0))
    table = ServiceMemory("a network", "0.2 MP", rows)
    monkeypatch.setattr("mnv2_engine.bench.service.service_memory", lambda *_: table)
    assert main(["bench", str(small_model()), "--service", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["rows"][0]["megabytes"] == 1.25
    assert main(["bench", "--service"]) == 2
    capsys.readouterr()
    assert main(["bench", "m.npz", "--service"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[2].split() == ["2", "after", "the", "fork", "1.2", "–"]


def test_the_table_is_put_into_a_page(tmp_path):
    rows = (
        *(WorkerMemory("mnv2", 2, False, 1.25), WorkerMemory("litert", 2, False, 3.0)),
        WorkerMemory("mnv2", 2, True, 1.0),
    )
    page = tmp_path / "serving.md"
    page.write_text(f"# Before\n\n{BEGIN}an old one{END}\n\nafter\n")
    put_table(str(page), ServiceMemory("a network", "0.2 MP", rows))
    lines = page.read_text().splitlines()
    assert (lines[0], lines[-1]) == ("# Before", "after")
    assert lines[5:9] == [
        "| workers | loaded | mnv2 | litert |",
        "|---|---|---|---|",
        "| 2 | after the fork | 1.2 | 3.0 |",
        "| 2 | before the fork | 1.0 | – |",
    ]
    put_table(str(page), ServiceMemory("a network", "0.2 MP", rows[:1]))  # again
    assert "| 2 | after the fork | 1.2 |" in page.read_text().splitlines()
    page.write_text("no such lines")
    with pytest.raises(MnvError, match="expected the lines"):
        put_table(str(page), ServiceMemory("a network", "0.2 MP", rows))


def test_the_documentation_has_a_place_for_it():
    page = (Path(__file__).parents[1] / "docs" / "serving.md").read_text()
    assert page.count(BEGIN) == page.count(END) == 1
