"""`mnv2 networks`, and its tables in docs/networks.md."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from mnv2_engine.cli import main
from mnv2_engine.network.kin import ALIASES, FAMILIES, PUBLISHED, by_name
from mnv2_engine.plan.planner import make_plan
from mnv2_engine.plan.shown.networks import families_table, networks_table, published_networks

PAGE = Path(__file__).parents[1] / "docs" / "networks.md"


@pytest.mark.skipif(not PAGE.is_file(), reason="the docs are in a clone only")
@pytest.mark.parametrize(
    ("name", "table"), [("families", families_table), ("networks", networks_table)]
)
def test_the_page_shows_the_tables_as_they_are(name, table):
    marked = rf"<!-- {name}: .*? -->\n(.*?)\n<!-- end of {name} -->"
    (shown,) = re.findall(marked, PAGE.read_text("utf-8"), re.DOTALL)
    assert shown == table()


def test_every_network_is_listed_once_with_all_its_names():
    listed = published_networks()
    names = [name for each in listed for name in each.names]
    assert sorted(names) == sorted([*PUBLISHED, *ALIASES])
    assert len(listed) == len(PUBLISHED)
    assert list(dict.fromkeys(each.family for each in listed)) == [
        family.title for family in FAMILIES.values()
    ]


def test_the_command_prints_the_tables(capsys):
    assert main(["networks"]) == 0
    assert capsys.readouterr().out == f"{families_table()}\n\n{networks_table()}\n"


def test_the_command_answers_in_json(capsys):
    assert main(["networks", "--json"]) == 0
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    (named,) = [each for each in found if "mnasnet0_5" in each["names"]]
    assert named["parameters"] == 2218512
    plan = make_plan(by_name("mnasnet0_5"), 1, "int8")
    assert named["arena_bytes"]["int8"] == plan.arena_bytes


def test_a_name_gives_its_plan(capsys):
    asked = ["networks", "mcunet-vww1", "--resolution", "64x48", "--precision", "int8"]
    plan = make_plan(by_name("mcunet-vww1", (64, 48), 3), 1, "int8")
    assert main([*asked, "--classes", "3"]) == 0
    assert capsys.readouterr().out == f"{plan}\n"
    assert main([*asked, "--classes", "3", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["arena_bytes"] == plan.arena_bytes


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["semnasnet_100"], "squeeze-excite"),
        (["fbnetc_10"], "perhaps fbnetc_100"),
        (["--classes", "3"], "none is named"),
    ],
)
def test_what_is_refused(arguments, said, capsys):
    assert main(["networks", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert said in err
