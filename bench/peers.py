"""The raw engine, Docker Swarm and Tutela in turn on one engine: `./tutela bench [--rounds N] [--only WORD]`.

A life of a group of containers gives several figures; each contender lives it in each round, so that the machine's
moods hit all. The table, a file and a picture are written: what is lost stays in it.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator

from bench._contenders import Contender, Raw, Swarm, Tutela, Unattended, at_work
from bench._figures import machine
from bench._peers import BARS, Case, picture, table, write
from bench._stage import stage
from tests.harness.engine import run
from tests.harness.images import SLEEPER

AWAY = "198.51.100.7:5000/tutela/sleeper:latest"
"""An image of a registry that does not answer and does not refuse (the address is for documents, RFC 5737)."""

Took = tuple[str, float]


def timed(name: str, work: Callable[[], None]) -> Took:
    """The case, and its seconds."""
    began = time.perf_counter()
    work()
    return name, time.perf_counter() - began


def one(contender: Contender) -> Iterator[Took]:
    """A single container."""
    yield timed("start 1", lambda: contender.start(SLEEPER, 1))
    yield timed("crash to running", contender.crash)


def ten(contender: Contender) -> Iterator[Took]:
    """Ten, that become fifty and end."""
    yield timed("start 10", lambda: contender.start(SLEEPER, 10))
    yield timed("redeploy 10, one at a time", contender.redeploy)
    yield timed("scale 10 to 50", lambda: contender.scale(50))
    yield timed("stop and remove 50", contender.end)


def fifty(contender: Contender) -> Iterator[Took]:
    """Fifty at once."""
    yield timed("start 50", lambda: contender.start(SLEEPER, 50))


def away(contender: Contender) -> Iterator[Took]:
    """The image is on the engine, and its registry swallows what it is sent."""
    yield timed("start 10, registry black-holed", lambda: contender.start(AWAY, 10))
    contender.end()
    contender.clear()
    contender.prepare()
    yield timed("start 1, registry black-holed", lambda: contender.start(AWAY, 1))
    yield timed("crash to running, registry black-holed", contender.crash)


Life = Callable[[Contender], Iterator[Took]]
LIVES: tuple[Life, ...] = (one, ten, fifty, away)


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(prog="tutela bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="", help=f"one of: {', '.join(each.__name__ for each in LIVES)}")
    parser.add_argument("--no-file", action="store_true", help="print only")
    wanted = parser.parse_args()
    about = machine()
    cases: dict[str, Case] = {}
    with stage() as (engine, server):
        client = engine.client()
        repository, _, tag = AWAY.rpartition(":")
        client.tag(SLEEPER, repository, tag)
        swallow(engine.netns)
        tutela = Tutela(engine, server)
        # What differs from another one in a single thing lives only where that shows.
        lives: list[tuple[Contender, tuple[Life, ...]]] = [
            (Raw(engine), LIVES),
            (Swarm(engine), LIVES),
            (Swarm(engine, 0.0), (one, away)),
            (tutela, LIVES),
            (Unattended(engine, server), (one,)),
        ]
        contenders = [each.name for each, _ in lives]
        warm(tutela)
        for number in range(1, wanted.rounds + 1):
            for life in LIVES:
                if wanted.only in {"", life.__name__}:
                    for contender in (each for each, its in lives if life in its):
                        live(life, contender, cases, number)
    print(table(cases, contenders, wanted.rounds))
    if not wanted.no_file:
        path = write(cases, about, wanted.rounds)
        print(f"kept in {path} and {picture(cases, contenders, path)}")


def swallow(netns: str) -> None:
    """What the engine sends to the registry goes nowhere, and nobody says so."""
    inside = ("nsenter", f"--net={netns}")
    address = AWAY.partition(":")[0]
    run(*inside, "ip", "link", "add", "away", "type", "veth", "peer", "name", "nowhere")
    run(*inside, "ip", "link", "set", "nowhere", "up")
    run(*inside, "ip", "link", "set", "away", "up")
    run(*inside, "ip", "route", "add", address, "dev", "away")
    run(*inside, "ip", "neigh", "add", address, "lladdr", "02:00:00:00:00:01", "dev", "away")


def warm(tutela: Contender) -> None:
    """Its first calls load what the others need not."""
    with at_work(tutela):
        tutela.start(SLEEPER, 1)


def live(life: Life, contender: Contender, cases: dict[str, Case], number: int) -> None:
    """Once; a contender that fails has no figure, and the others go on."""
    try:
        with at_work(contender):
            for name, seconds in life(contender):
                cases.setdefault(name, Case(bar=BARS.get(name))).add(contender.name, seconds)
                print(f"round {number}: {name:40} {contender.name:30} {seconds:7.3f} s", flush=True)
    except Exception as error:
        print(f"round {number}: {life.__name__} of {contender.name} failed: {error}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
