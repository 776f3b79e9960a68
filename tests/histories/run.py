"""One history: a Postgres with fsync, two API processes, users, the nemesis; and what the checker says of it."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from tests.fleet.hosts import control_plane
from tests.harness.postgres import TestPostgres
from tests.harness.server import TutelaProcess
from tests.histories.checker import check
from tests.histories.final import read_final, settled
from tests.histories.history import History, Outcome
from tests.histories.nemesis import Nemesis
from tests.histories.plan import CRASHES, Fault, strikes
from tests.histories.workload import Users

CLIENTS = 12
SETTINGS = {
    "TUTELA_MAX_CONTAINERS": "10000000",
    "TUTELA_NETWORK_POOL": "10.0.0.0/9",
    "TUTELA_LIMIT_CREATES": "1000000",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What was done and what is wrong with it."""

    history: History
    faults: Counter[Fault]
    seconds: float
    problems: list[str]

    def lines(self) -> list[str]:
        """For people."""
        ops = self.history.ops
        outcomes = Counter(op.outcome for op in ops)
        repeated = [op for op in ops if op.outcome is Outcome.OK and op.key and op.sendings > 1]
        crashes = sum(count for fault, count in self.faults.items() if fault in CRASHES)
        return [
            *self.problems[:50],
            f"{outcomes[Outcome.OK]} operations answered, {outcomes[Outcome.FAIL]} refused,"
            f" {outcomes[Outcome.UNKNOWN]} unknown; {len(self.history.reads)} reads; in {self.seconds:.0f} s",
            "by kind: " + ", ".join(f"{kind} {n}" for kind, n in Counter(op.kind for op in ops).most_common()),
            f"{len(repeated)} answered after they were sent again with their key, {len(self.history.again)} answered"
            " twice",
            f"{crashes} crashes of Postgres: " + ", ".join(f"{fault} {n}" for fault, n in self.faults.most_common()),
            f"{len(self.problems)} violations",
        ]


def run(*, operations: int, kills: int, seed: int, say: Callable[[str], None]) -> Report:
    """Until that many operations are answered and the postmaster was killed that often; all parts are its own."""
    postgres = TestPostgres(options={})
    with ThreadPoolExecutor(1) as beside:
        apis: list[TutelaProcess] = []
        try:
            beside.submit(asyncio.run, postgres.make_template()).result()
            dsn = beside.submit(asyncio.run, postgres.fresh()).result()
            apis = [control_plane(dsn, roles=roles, **SETTINGS) for roles in ("api,orchestrator", "api")]
            apis[1].api = apis[0].api  # the key of the first start is good at both
            for api in apis:
                api.start()
            return beside.submit(asyncio.run, _run(postgres, dsn, apis, operations, kills, seed, say)).result()
        except BaseException:
            for api in apis:
                say(api.log()[-4000:])
            raise
        finally:
            for api in apis:
                api.close()
            postgres.close()


async def _run(
    postgres: TestPostgres,
    dsn: str,
    apis: list[TutelaProcess],
    operations: int,
    kills: int,
    seed: int,
    say: Callable[[str], None],
) -> Report:
    key = apis[0].api.credentials()
    users = Users([api.port for api in apis], f"ApiKey {key['user']}:{key['api_key']}", seed)
    nemesis = Nemesis(postgres, apis, seed, say)
    # A trigger takes 10 calls a minute at each process: enough of them, and few enough to meet at each.
    await users.prepare(counted=10 + operations // 150, patched=5 + operations // 1000)
    began = time.monotonic()

    async def faults() -> None:
        for strike in strikes(seed, operations, kills):
            await users.reached(strike.after)
            await nemesis.strike(strike)

    async with asyncio.TaskGroup() as group:
        working = group.create_task(users.work(CLIENTS, operations))
        group.create_task(faults())
        await working
    seconds = time.monotonic() - began
    for api in apis:
        await asyncio.to_thread(api.stop)
    await settled(dsn)
    problems = check(users.history, await read_final(dsn))
    return Report(history=users.history, faults=nemesis.done, seconds=seconds, problems=problems)
