"""The raw engines, Docker Swarm and Tutela in turn on three hosts: `./tutela bench hosts [--rounds N] [--only LIFE]`.

30 containers from one call; the host of some of them drained; a host whose link is cut. Each contender lives each life
in each round on empty engines; forming the swarm is not counted. What the engines themselves have on record of starts
and ends is what counts for the latter two.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

from bench._contenders import GROUP, SINGLE, OnHosts, at_work, watch
from bench._figures import machine
from bench._lives import Life, Lives, Took, timed
from bench._ours import Fleet
from bench._raw import Raw
from bench._seen import running, turns, without
from bench._stage import stage_of
from bench._swarm import Swarm
from tests.harness.engine import PrivateEngine
from tests.harness.images import SLEEPER

HOSTS, CONTAINERS, AT_A_CUT = 3, 30, 9
CUT = "link of 1 of 3 hosts cut: 3 of 9 elsewhere"
CANNOT = {
    Raw.name: "nobody moves them",
    "Tutela": "by default they wait for their host (decision 16)",
}


class Cases:
    """The lives, on these engines."""

    def __init__(self, engines: Sequence[PrivateEngine]) -> None:
        self._engines = engines

    def many(self, contender: OnHosts) -> Iterator[Took]:
        """All from one call; each engine has its share."""
        yield timed(f"start {CONTAINERS} on three hosts", lambda: contender.start(SLEEPER, CONTAINERS))
        counts = [running(each) for each in self._engines]
        assert counts == [CONTAINERS // HOSTS] * HOSTS, counts

    def drain(self, contender: OnHosts) -> Iterator[Took]:
        """Of the host that has the only container of a service, and a third of another's."""
        contender.start(SLEEPER, AT_A_CUT)
        contender.beside(SLEEPER)
        (leaving,) = (each for each in self._engines if running(each, SINGLE))
        others, total = [each for each in self._engines if each is not leaving], AT_A_CUT + 1
        assert running(leaving) == AT_A_CUT // HOSTS + 1
        began = time.time()
        contender.drain(leaving)
        watch(lambda: not running(leaving) and sum(map(running, others)) == total, "the host to be empty")
        found = turns(self._engines, began)
        yield "drain 1 of 3 hosts: 4 of 10 elsewhere", found[-1].at - began
        yield "drain: a service of one has none", without(found, SINGLE, 1)

    def cut(self, contender: OnHosts) -> Iterator[Took]:
        """The last host, which manages nothing, is off the network; what it runs goes on there, unheard."""
        contender.start(SLEEPER, AT_A_CUT)
        *others, lost = self._engines
        assert running(lost) == AT_A_CUT // HOSTS
        began = time.time()
        lost.cut()
        try:
            watch(lambda: sum(running(each, GROUP) for each in others) == AT_A_CUT, "all to run elsewhere")
            yield CUT, max(each.at for each in turns(others, began) if each.began) - began
        finally:
            lost.heal()


def main() -> None:
    """Measure, print, keep."""
    lives, about = Lives("hosts", __doc__ or "", ("many", "drain", "cut")), machine()
    with stage_of(HOSTS) as hosts:
        engines = [each.engine for each in hosts.hosts]
        its, tutela = Cases(engines), Fleet(hosts)
        every = (its.many, its.drain, its.cut)
        # What differs from another one in a single thing lives only where that shows.
        who: list[tuple[OnHosts, Sequence[Life[OnHosts]]]] = [
            (Raw(*engines), (its.many, its.drain)),
            (Swarm(*engines), every),
            (Swarm(*engines, restart_delay=0.0), (its.drain, its.cut)),
            (tutela, (its.many, its.drain)),
            (Fleet(hosts, name="Tutela, autoreplace", autoreplace="ALWAYS"), (its.cut,)),
            (Fleet(hosts, name="Tutela, lost_after 7", lost_after=7), (its.cut,)),
        ]
        with at_work(tutela):  # its first calls load what the others need not
            tutela.start(SLEEPER, HOSTS)
        lives.live(who, every)
        if CUT in lives.cases:
            lives.case(CUT).cannot |= CANNOT
    lives.show([each.name for each, _ in who], about)


if __name__ == "__main__":
    main()
