"""`mnv2 networks`: the published networks that run, or the plan of one of them."""

from __future__ import annotations

from argparse import Namespace

from ..errors import InputError
from .output import as_json, say


def run(args: Namespace) -> int:
    """Print the table of all networks, or the plan of the network that is named."""
    if args.name is not None:
        _show_plan(args)
        return 0
    for option in ("resolution", "classes", "precision"):
        if getattr(args, option) is not None:
            raise InputError(f"--{option} is for one network, and none is named; name one")
    from ..plan.shown.networks import families_table, networks_table, published_networks

    if args.json:
        for each in published_networks():
            say(as_json(each._asdict()))
    else:
        say(f"{families_table()}\n\n{networks_table()}")
    return 0


def _show_plan(args: Namespace) -> None:
    from ..network.kin import by_name
    from ..plan.planner import make_plan

    network = by_name(args.name, args.resolution, args.classes)
    plan = make_plan(network, 1, args.precision or "float32")
    if args.json:
        from ..plan.shown.figures import to_json

        say(as_json(to_json(plan)))
    else:
        say(str(plan))
