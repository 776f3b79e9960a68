"""Lives of a group of containers that each contender lives in turn, round after round."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from bench._contenders import Contender, at_work
from bench._peers import BARS, Case, picture, table, write

Took = tuple[str, float]
C = TypeVar("C", bound=Contender)
Life = Callable[[C], Iterator[Took]]


def timed(name: str, work: Callable[[], None]) -> Took:
    """The case, and its seconds."""
    began = time.perf_counter()
    work()
    return name, time.perf_counter() - began


class Lives:
    """What is asked for on the command line, and what came of it.

    `known`: the lives' names; `file`: what is written is docs/benchmarks/FILE.json.
    """

    def __init__(self, file: str, about: str, known: Sequence[str]) -> None:
        parser = argparse.ArgumentParser(prog="tutela bench", description=about)
        parser.add_argument("--rounds", type=int, default=3)
        parser.add_argument("--only", action="append", default=[], choices=known, help="prints only; may be repeated")
        parser.add_argument("--no-file", action="store_true", help="print only")
        wanted = parser.parse_args()
        self._file = "" if wanted.no_file or wanted.only else file
        self._rounds, self._only = wanted.rounds, wanted.only
        self.cases: dict[str, Case] = {}
        self._failed: list[str] = []
        # Whoever ends it wants what was made to be gone too.
        signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit("ended"))

    def live(self, who: Sequence[tuple[C, Sequence[Life[C]]]], lives: Sequence[Life[C]]) -> None:
        """Each life in each round, by all that have it, so that the machine's moods hit all of them."""
        for number in range(1, self._rounds + 1):
            for life in lives:
                if not self._only or life.__name__ in self._only:
                    for contender in (each for each, its in who if life in its):
                        self._once(life, contender, number)

    def _once(self, life: Life[C], contender: C, number: int) -> None:
        """A contender that fails has no figure, and the others go on."""
        try:
            with at_work(contender):
                for name, seconds in life(contender):
                    self.case(name).add(contender.name, seconds)
                    print(f"round {number}: {name:40} {contender.name:30} {seconds:8.4f} s", flush=True)
        except Exception as error:
            said = f"round {number}: {life.__name__} of {contender.name} failed: {error}"
            self._failed.append(said)
            print(said, file=sys.stderr, flush=True)

    def case(self, name: str) -> Case:
        """The case, made where it is not there yet."""
        return self.cases.setdefault(name, Case(bar=BARS.get(name)))

    def show(self, contenders: Sequence[str], about: Mapping[str, Any]) -> None:
        """The table; the file and the picture where all lives were lived."""
        print(table(self.cases, contenders, self._rounds))
        for each in self._failed:
            print(f"- {each}")
        if self._file:
            path = write(self._file, self.cases, about, self._rounds, self._failed)
            print(f"kept in {path} and {picture(self.cases, contenders, path)}")
