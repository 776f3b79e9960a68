"""The raw engine, Docker Swarm and Tutela in turn on one engine: `./tutela bench [--rounds N] [--only LIFE]`.

A life of a group of containers gives several figures; each contender lives it in each round, so that the machine's
moods hit all. The table, a file and a picture are written: what is lost stays in it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

from bench._contenders import Contender, at_work, watch
from bench._figures import machine
from bench._lives import Life, Lives, Took, timed
from bench._ours import Tutela, Unattended
from bench._raw import Raw
from bench._seen import addresses, latency
from bench._stage import stage
from bench._swarm import Swarm
from tests.harness.engine import run
from tests.harness.images import SLEEPER

AWAY = "198.51.100.7:5000/tutela/sleeper:latest"
"""An image of a registry that does not answer and does not refuse (the address is for documents, RFC 5737)."""

LINES = 20
"""Of which the median counts for a round."""


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


def names(contender: Contender) -> Iterator[Took]:
    """From the call that asks for three where one runs, until a container of a linked service finds three by name, and
    until they run as well: an engine knows a container's name before it starts its process.
    """
    contender.linked(SLEEPER)
    pid, name = contender.neighbour()
    watch(lambda: addresses(pid, name) == 1, f"{name} to be found")
    began = time.perf_counter()
    with contender.asked(3):
        watch(lambda: addresses(pid, name) == 3, f"{name} to have three addresses")
        yield "1 to 3 until a linked container finds 3", time.perf_counter() - began
    yield "1 to 3 until the 3 that it finds run", time.perf_counter() - began


def logs(contender: Contender) -> Iterator[Took]:
    """From a line that a container writes until who follows has it."""
    contender.start(SLEEPER, 1)
    yield f"line of a log to its follower, p50 of {LINES}", latency(contender.pid(), contender.follow, LINES)


LIVES: Sequence[Life[Contender]] = (one, ten, fifty, away, names, logs)


def main() -> None:
    """Measure, print, keep."""
    lives, about = Lives("peers", __doc__ or "", [each.__name__ for each in LIVES]), machine()
    with stage() as (engine, server):
        client = engine.client()
        repository, _, tag = AWAY.rpartition(":")
        client.tag(SLEEPER, repository, tag)
        swallow(engine.netns)
        tutela = Tutela(engine, server)
        # What differs from another one in a single thing lives only where that shows.
        who: list[tuple[Contender, Sequence[Life[Contender]]]] = [
            (Raw(engine), LIVES),
            (Swarm(engine), LIVES),
            (Swarm(engine, restart_delay=0.0), (one, away)),
            (tutela, LIVES),
            (Unattended(engine, server), (one,)),
        ]
        warm(tutela)
        lives.live(who, LIVES)
    lives.show([each.name for each, _ in who], about)


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


if __name__ == "__main__":
    main()
