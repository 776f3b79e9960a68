"""Users who create, patch, scale by triggers, delete and look, and write down every call."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from tests.histories.client import Answer, Client, NoAnswer, NotSent
from tests.histories.history import NEVER, Again, History, Kind, Op, Outcome, Read

API = "/api/v1/service/"
PATIENCE = 90.0
"""Seconds until a client gives up on an operation: longer than anything is away."""

KEYED = 0.8
AGAIN = 0.04
ELSEWHERE = 0.05
COMMANDS = ("run_command", "entrypoint")
WEIGHTS = {"create": 18, "patch": 36, "add": 22, "delete": 9, "read": 15}


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """A service that a client works with. `trigger`: it is counted by calls of it; else its target is patched."""

    name: str
    uuid: str
    trigger: str | None = None


class Users:
    """Clients with a common history and common services. `clock` is the history's."""

    def __init__(self, ports: Sequence[int], authorization: str, seed: int) -> None:
        self.history = History()
        self.acked, self._more = 0, asyncio.Event()
        self.shared: list[Known] = []
        self._ports, self._authorization, self._seed = ports, authorization, seed
        self._numbers, self._began = itertools.count(1), time.monotonic()

    def clock(self) -> float:
        """Seconds since the history began."""
        return time.monotonic() - self._began

    def client(self, number: int) -> Client:
        """A new connection."""
        return Client(self._ports, self._authorization, number)

    async def prepare(self, counted: int, patched: int) -> None:
        """Make the services that all clients work with at the same time."""
        user = User(self, -1)
        for number in range(counted + patched):
            known = await user.create(f"shared-{number}")
            assert known is not None, "nothing disturbs this yet"
            if number < counted:
                answer = await user.client.send("POST", f"{API}{known.uuid}/trigger/", {"operation": "SCALEUP"})
                known = replace(known, trigger=answer.body["uuid"])
            self.shared.append(known)
        await user.client.close()

    async def work(self, clients: int, operations: int) -> None:
        """Until so many operations have been answered."""

        async def one(number: int) -> None:
            user = User(self, number)
            while self.acked < operations:
                await user.step()
            await user.client.close()

        async with asyncio.TaskGroup() as group:
            for number in range(clients):
                group.create_task(one(number))

    async def reached(self, acked: int) -> None:
        """Until so many operations have been answered."""
        while self.acked < acked:
            self._more.clear()
            await self._more.wait()

    def count(self) -> None:
        """One more was answered."""
        self.acked += 1
        self._more.set()

    def next(self) -> int:
        """A number that nobody else has."""
        return next(self._numbers)


class User:
    """One client: does one thing after the other."""

    def __init__(self, users: Users, number: int) -> None:
        self.client = users.client(number)
        self._users, self._number = users, number
        self._chance = random.Random(f"{users._seed} {number}")
        self._own: list[Known] = []

    async def step(self) -> None:
        """One thing by chance."""
        if self._chance.random() < ELSEWHERE:
            await self.client.elsewhere()
        (what,) = self._chance.choices(list(WEIGHTS), list(WEIGHTS.values()))
        known = self._chance.choice(self._users.shared)
        if what == "create":
            made = await self.create(f"own-{self._number}-{self._users.next()}")
            if made is not None:
                self._own.append(made)
        elif what == "add":
            await self._add(self._chance.choice([each for each in self._users.shared if each.trigger]))
        elif what == "delete" and self._own:
            await self._delete(self._own.pop(self._chance.randrange(len(self._own))))
        elif what == "read":
            await self._read(self._chance.choice([known, *self._own[-3:]]))
        else:
            await self._patch(self._chance.choice([known, known, *self._own[-1:]]))

    async def create(self, name: str) -> Known | None:
        """A service, stored and not started."""
        values: dict[str, str | int] = {"target": 1, **{register: f"{name}-{register}" for register in COMMANDS}}
        body = {"image": "a", "name": name, "target_num_containers": 1, **{each: values[each] for each in COMMANDS}}
        answer = await self._do(Kind.CREATE, name, "POST", API, body, values=values)
        return Known(name=name, uuid=answer.body["uuid"]) if answer else None

    async def _patch(self, known: Known) -> None:
        number = self._users.next()
        plain = known.trigger or known in self._own
        register = self._chance.choice(COMMANDS if plain else (*COMMANDS, "target"))
        value: str | int = number if register == "target" else f"c{number}"
        body = {"target_num_containers" if register == "target" else register: value}
        await self._do(Kind.PATCH, known.name, "PATCH", f"{API}{known.uuid}/", body, values={register: value})

    async def _add(self, known: Known) -> None:
        amount = self._chance.randint(1, 9)
        path = f"{API}{known.uuid}/trigger/{known.trigger}/call/{amount}/"
        await self._do(Kind.ADD, known.name, "POST", path, None, amount=amount)

    async def _delete(self, known: Known) -> None:
        await self._do(Kind.DELETE, known.name, "DELETE", f"{API}{known.uuid}/", None)

    async def _read(self, known: Known) -> None:
        invoked = self._users.clock()
        try:
            answer = await self.client.send("GET", f"{API}?name={known.name}")
        except (NotSent, NoAnswer):
            return
        if answer.status != 200:
            return
        objects = answer.body["objects"]
        registers = {each: objects[0][each] for each in COMMANDS} if objects else {}
        if objects:
            registers["target"] = objects[0]["target_num_containers"]
        self._users.history.reads.append(
            Read(name=known.name, invoked=invoked, ended=self._users.clock(), found=len(objects), registers=registers)
        )

    async def _do(
        self,
        kind: Kind,
        name: str,
        method: str,
        path: str,
        body: object,
        *,
        values: Mapping[str, str | int] | None = None,
        amount: int = 0,
    ) -> Answer | None:
        """Send it, with a key again until it is answered, without one once; and write down what is known of it."""
        key = f"{self._users._seed}-{self._users.next()}" if self._chance.random() < KEYED else None
        op = Op(
            kind=kind, name=name, values=values or {}, amount=amount, key=key, invoked=self._users.clock(),
            ended=NEVER, outcome=Outcome.FAIL, sendings=0,
        )  # fmt: skip
        answer: Answer | None = None
        while True:
            op = replace(op, sendings=op.sendings + 1)
            try:
                answer = await self.client.send(method, path, body, key)
            except NotSent:
                answer = None
            except NoAnswer:
                answer, op = None, replace(op, outcome=Outcome.UNKNOWN)
            if answer is not None and answer.status < 300:
                op = replace(op, outcome=Outcome.OK, ended=self._users.clock(), action=answer.action)
                break
            if answer is not None and answer.status >= 500:
                op = replace(op, outcome=Outcome.UNKNOWN)
            elif answer is not None and not (answer.status == 429 and op.outcome is Outcome.UNKNOWN):
                break  # refused: this sending changed nothing; an earlier one without an answer may have
            if (op.outcome is Outcome.UNKNOWN and key is None) or self._users.clock() - op.invoked > PATIENCE:
                break
            await asyncio.sleep(self._chance.uniform(0.02, 0.3))
        self._users.history.ops.append(op)
        if op.outcome is not Outcome.OK or answer is None:
            return None
        self._users.count()
        if key is not None and self._chance.random() < AGAIN:
            await self._again(key, method, path, body)
        return answer

    async def _again(self, key: str, method: str, path: str, body: object) -> None:
        """Send what was answered once more, as a client does whose answer got lost on the way."""
        try:
            answer = await self.client.send(method, path, body, key)
        except (NotSent, NoAnswer):
            return
        if answer.status < 500 and answer.status != 429:
            marked = answer.headers.get("idempotent-replayed") == "true"
            self._users.history.again.append(Again(key=key, action=answer.action, status=answer.status, marked=marked))
