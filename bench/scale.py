"""A thousand hosts on two cores: `./tutela bench scale small`, or `medium`, `large`, several, or sizes of your own.

    ./tutela bench scale small medium                      each in turn, then how each figure grew
    ./tutela bench scale --nodes 50 --containers 500 --services 50 [--deploy 300] [--rest 60] [--fill api|copies]
    ./tutela bench scale --growth small medium             only compare the files of earlier runs

The control plane and Postgres are real, agents speak the real protocol, the engines are a model. How to read the
table: docs/performance.md.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from bench import _alone, _deploy, _phases
from bench._figures import Figure, growth, machine, table, write
from bench._ground import Ground, ground

BY_API = 5_000
"""Up to so many containers the fill goes through the API, if nobody says otherwise."""

OF_A_SERVICE = 100
"""Containers of each service that is deployed while the rest runs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How much there is."""

    nodes: int
    containers: int
    services: int


SIZES: Mapping[str, Size] = {
    "small": Size(nodes=100, containers=3_000, services=300),
    "medium": Size(nodes=1_000, containers=30_000, services=3_000),
    "large": Size(nodes=3_000, containers=100_000, services=10_000),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class How:
    """How it is measured. `deploy` containers come and go beside the rest; `delay` of a start, `rest` and `patience`
    with one phase in seconds."""

    deploy: int
    delay: float
    rest: float
    patience: float
    copies: bool
    skip: tuple[str, ...] = ()


def run(name: str, size: Size, how: How) -> None:
    """Measure one size; print as it goes and keep it."""
    about = machine()
    print(f"{name}: {size.nodes} nodes, {size.containers} containers of {size.services} services; {about}", flush=True)
    figures: list[Figure] = []
    dearest: dict[str, Any] = {}

    def phase(what: str, measure: Callable[[], list[Figure]]) -> None:
        stage.record.count_anew()
        try:
            found = measure()
        except Exception as error:
            # The boundary of one phase: it becomes a line of the table; the others are still worth having.
            why = (str(error) or type(error).__name__).splitlines()[0][:120]
            found = [Figure(name=what, value=None, unit="", note=why)]
        dearest[what] = stage.record.dearest()
        figures.extend(found)
        print(table(found), flush=True)
        kept = write(name, asdict(size), about, figures, dearest)
        print(f"  {time.monotonic() - began:.0f} s so far; kept in {kept}", flush=True)

    with ground(size.nodes, how.delay) as stage:
        began = time.monotonic()
        for what, measure in _plan(stage, size, how).items():
            if what not in how.skip:
                phase(what, measure)


def _plan(stage: Ground, size: Size, how: How) -> dict[str, Callable[[], list[Figure]]]:
    """The phases, in their order."""
    services, patience = max(1, how.deploy // OF_A_SERVICE), how.patience
    each = how.deploy // services
    return {
        "placement": lambda: [_alone.placing()],
        "join": lambda: _phases.joined(stage, patience),
        "fill": lambda: _phases.filled(stage, size.services, size.containers, patience, copies=how.copies),
        "rest": lambda: _phases.at_rest(stage, how.rest, patience),
        "deploy at a pace": lambda: _deploy.deployed(stage, services, each, _deploy.PACE, patience),
        "deploy at once": lambda: _deploy.deployed(stage, services, each, None, patience),
        "storm": lambda: _phases.storm(stage, patience),
        "restart": lambda: _phases.restart(stage, patience),
        "whole run": lambda: _phases.whole_run(stage),
        "passes": lambda: _alone.passes(stage),
    }


def main() -> None:
    """Read what is asked for, and do it."""
    parser = argparse.ArgumentParser(prog="./tutela bench scale", description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", help=f"{', '.join(SIZES)}; several are compared in the end")
    parser.add_argument("--growth", action="store_true", help="only compare what earlier runs of the names kept")
    parser.add_argument("--nodes", type=int, default=20)
    parser.add_argument("--containers", type=int, default=200)
    parser.add_argument("--services", type=int, default=20)
    parser.add_argument("--deploy", type=int, default=3_000, help="containers that come and go beside the rest")
    parser.add_argument("--delay", type=float, default=0.3, help="seconds that the model of an engine takes")
    parser.add_argument("--rest", type=float, default=60.0, help="seconds at rest that are measured")
    parser.add_argument("--patience", type=float, default=300.0, help="seconds that one wait may last")
    parser.add_argument("--skip", default="", help="phases to leave out, divided by commas")
    parser.add_argument("--fill", choices=("api", "copies"), help="how what is at rest is made")
    asked = parser.parse_args()
    unknown = [name for name in asked.names if name not in SIZES]
    if unknown:
        parser.error(f"unknown size {', '.join(unknown)}; known: {', '.join(SIZES)}")
    own = Size(nodes=asked.nodes, containers=asked.containers, services=asked.services)
    wanted = {name: SIZES[name] for name in asked.names} or {f"{own.nodes}-{own.containers}-{own.services}": own}
    if not asked.growth:
        # Whoever ends it wants the processes gone too.
        signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit("ended"))
        for name, size in wanted.items():
            copies = asked.fill == "copies" if asked.fill else size.containers > BY_API
            how = How(
                deploy=asked.deploy,
                delay=asked.delay,
                rest=asked.rest,
                patience=asked.patience,
                copies=copies,
                skip=tuple(asked.skip.split(",")),
            )
            run(name, size, how)
    if len(wanted) > 1:
        print(growth(list(wanted)))


if __name__ == "__main__":
    main()
