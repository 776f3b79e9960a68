"""What the agent must not forget: its assignment and what it ordered. One JSON file, replaced as a whole.

Written before new assignments are acted on and before a start is ordered (design 3.5), at most once a pass. A
file that cannot be read is kept aside as `.broken`; the ledger then begins empty and `complete` is False until a
full set has come, so nothing is removed on the strength of an empty ledger.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from uuid import UUID

import structlog
from pydantic import TypeAdapter, ValidationError

from agents import memory as remembering
from agents.brake import Judged
from agents.view import ContainerMemory
from domain.assignment import (
    ContainerAssignment,
    Copy,
    EngineInfo,
    NodeAssignments,
    Position,
    Registration,
    Testimony,
)
from domain.quarantine import Word, accepts, answered, position_key

log = structlog.get_logger("ledger")
FILE = "ledger.json"
COPIES = "copies.json"
LOCK = "agent.lock"


class LedgerLocked(Exception):
    """Another agent works with this state directory: two on one engine would undo each other's work."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """The file's content. Unknown keys are ignored, missing ones have their defaults (I16)."""

    version: int = 1
    cluster_id: UUID | None = None
    node_id: UUID | None = None
    session: int = 0
    revision: int = 0
    complete: bool = False
    incarnation: str | None = None
    assignments: tuple[ContainerAssignment, ...] = ()
    memory: dict[UUID, ContainerMemory] = field(default_factory=dict)
    seen: Position | None = None
    engine: str = ""
    emptied: int = 0
    holds: bool = False
    judged: Judged = field(default_factory=Judged)


_PAGE = TypeAdapter(Page)
_COPIES: TypeAdapter[tuple[Copy, ...]] = TypeAdapter(tuple[Copy, ...])


class Ledger:
    """The open ledger of one agent. Changes are in memory at once and on disk after `save`."""

    def __init__(self, directory: Path) -> None:
        """Open it. Raises LedgerLocked, OSError."""
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._path = directory / FILE
        self._lock = _lock(directory / LOCK)
        self._writer = ThreadPoolExecutor(1, "ledger")
        self._saving = asyncio.Lock()
        page, self._dirty = _read(self._path)
        self.cluster_id = page.cluster_id
        self.node_id = page.node_id
        self.session = page.session
        self.revision = page.revision
        self.complete = page.complete
        self._incarnation = page.incarnation
        self.assignments = {each.container_id: each for each in page.assignments}
        self._on_disk = self.assignments
        self._memory = dict(page.memory)
        self.seen = page.seen
        self._engine = page.engine
        self._emptied = page.emptied
        self._holds = page.holds
        self.judged = page.judged
        self._copies = {each.of: each for each in _read_copies(directory / COPIES)}
        self._copies_dirty = False

    @property
    def engine(self) -> str:
        """The identity of the engine that the assignment is for; empty while nobody has said."""
        return self._engine

    @engine.setter
    def engine(self, value: str) -> None:
        if value != self._engine:
            self._dirty = True
            if self._engine:
                # Of this one nothing is known: no life, and nothing that was there.
                self._incarnation, self._holds = None, False
        self._engine = value

    @property
    def emptied(self) -> int:
        """How often the engine came back without anything of ours (`agents.greeting`)."""
        return self._emptied

    @emptied.setter
    def emptied(self, value: int) -> None:
        self._dirty |= value != self._emptied
        self._emptied = value

    @property
    def holds(self) -> bool:
        """Whether the last look found any container of ours."""
        return self._holds

    @holds.setter
    def holds(self, value: bool) -> None:
        self._dirty |= value != self._holds
        self._holds = value

    def foreign(self, engine: EngineInfo | None) -> bool:
        """Whether this is known to be another engine than the assignment is for."""
        return engine is not None and self._engine != "" and not accepts(self._engine, engine)

    def certain(self, assignment: ContainerAssignment) -> bool:
        """Whether it is on the disk: an agent that begins anew after a power cut knows it too."""
        return self._on_disk.get(assignment.container_id) == assignment

    @property
    def incarnation(self) -> str | None:
        """Which life of the engine was seen last."""
        return self._incarnation

    def began_anew(self, life: str | None) -> None:
        """That is the engine's present life."""
        self._dirty |= life != self._incarnation
        self._incarnation = life

    def ended(self, since: datetime | None, lost_at: datetime | None) -> None:
        """What ran, the engine has ended; it began anew at `since` and was missed from `lost_at` on."""
        for container_id, memory in list(self._memory.items()):
            self.remember(container_id, remembering.engine_lost(memory, since, lost_at))

    @property
    def memories(self) -> dict[UUID, ContainerMemory]:
        """All memories by container; change them through `remember`."""
        return self._memory

    def memory(self, container_id: UUID) -> ContainerMemory:
        """What is remembered of a container, a blank memory at first."""
        return self._memory.get(container_id, ContainerMemory())

    def remember(self, container_id: UUID, memory: ContainerMemory) -> None:
        """Replace the memory of a container."""
        if self.memory(container_id) != memory:
            self._memory[container_id] = memory
            self._dirty = True

    def begin(self, registration: Registration) -> None:
        """A session began: revisions count anew, so that a full set is asked for."""
        if self.node_id != registration.node_id:
            self.seen = None
        self.cluster_id, self.node_id = registration.cluster_id, registration.node_id
        self.session, self.revision = registration.session, 0
        self._dirty = True

    def accept(self, news: NodeAssignments) -> bool:
        """Take in what changed; False for news of another session, an older revision, or with a gap before it."""
        if news.session != self.session or news.cluster_id != self.cluster_id:
            return False
        if news.base > self.revision or news.revision < self.revision:
            return False
        if news.base > 0 and news.revision == self.revision:
            return False
        before = self.assignments
        fresh = {each.container_id: each for each in news.containers}
        after = fresh if news.base == 0 else before | fresh
        full = news.base == 0 and not self.complete
        if after == before and news.revision == self.revision and not full:
            return False
        for container_id, assignment in after.items():
            old = before.get(container_id)
            if old is not None and (old.want, old.start_gen) != (assignment.want, assignment.start_gen):
                self.remember(container_id, remembering.reassigned(self.memory(container_id)))
        word = answered(news.word, position_key(self.seen)) if self.seen is not None and news.base == 0 else None
        if word is not None:
            # The record is older than this ledger, and an operator has said what becomes of what only this one knows.
            self.judge(word, before.keys() - after.keys())
        self.assignments, self.revision = after, news.revision
        if news.lineage is not None and self.node_id is not None:
            self.seen = Position(node_id=self.node_id, lineage=news.lineage, revision=news.revision)
        self.complete |= news.base == 0
        self._dirty = True
        return True

    def keep(self, copies: Collection[Copy]) -> None:
        """Copies of the record's rows, for a rebuild; those of services that have nothing here any more are dropped."""
        kept = self._copies | {each.of: each for each in copies}
        here = {each.service_id for each in self.assignments.values()} | {self.node_id}
        kept = {of: each for of, each in kept.items() if of in here}
        self._copies_dirty |= kept != self._copies
        self._copies = kept

    def testimony(self) -> Testimony:
        """All that a record needs to be made anew of what is here."""
        return Testimony(
            assignments=tuple(replace(each, secret_env=()) for each in self.assignments.values()),
            copies=tuple(self._copies.values()),
        )

    def judge(self, word: Word, containers: Collection[UUID]) -> None:
        """An operator has said what becomes of these, which nothing asks for."""
        removable, kept = self.judged.removable - set(containers), self.judged.kept - set(containers)
        match word:
            case Word.REMOVE:
                self.judged = Judged(removable=removable | set(containers), kept=kept)
            case Word.KEEP:
                self.judged = Judged(removable=removable, kept=kept | set(containers))
        self._dirty = True

    def still_here(self, containers: Collection[UUID]) -> None:
        """What was said of others, or of those that are assigned by now, has served its purpose."""
        left = set(containers) - self.assignments.keys()
        judged = Judged(removable=self.judged.removable & left, kept=self.judged.kept & left)
        self._dirty |= judged != self.judged
        self.judged = judged

    def forget(self, container_id: UUID) -> None:
        """Its end was accepted: drop all about it."""
        if self.assignments.pop(container_id, None) is not None:
            self._dirty = True
        if self._memory.pop(container_id, None) is not None:
            self._dirty = True

    async def save(self) -> None:
        """Bring the present content to the disk if it changed; returns when it is durable. Raises OSError."""
        async with self._saving:
            if self._dirty:
                self._dirty, written = False, self.assignments
                try:
                    await self._write(self._path, _PAGE.dump_json(self._page()))
                except BaseException:
                    self._dirty = True
                    raise
                self._on_disk = written
            if self._copies_dirty:
                # A file of their own: they change with definitions, and not with each start of a container.
                self._copies_dirty = False
                try:
                    await self._write(self._path.with_name(COPIES), _COPIES.dump_json(tuple(self._copies.values())))
                except BaseException:
                    self._copies_dirty = True
                    raise

    async def _write(self, path: Path, content: bytes) -> None:
        await asyncio.get_running_loop().run_in_executor(self._writer, write_whole, path, content)

    def close(self) -> None:
        """Let another agent take over."""
        self._writer.shutdown(wait=True)
        os.close(self._lock)

    def _page(self) -> Page:
        return Page(
            cluster_id=self.cluster_id,
            node_id=self.node_id,
            session=self.session,
            revision=self.revision,
            complete=self.complete,
            incarnation=self._incarnation,
            assignments=tuple(self.assignments.values()),
            memory=self._memory,
            seen=self.seen,
            engine=self._engine,
            emptied=self._emptied,
            holds=self._holds,
            judged=self.judged,
        )


def write_whole(path: Path, content: bytes, sync: Callable[[int], None] = os.fsync) -> None:
    """Replace a file so that after a power cut it holds either the old content or the new. Mode 0600."""
    fresh = path.with_suffix(".new")
    handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(handle, "wb", closefd=False) as file:
            file.write(content)
        sync(handle)
    finally:
        os.close(handle)
    fresh.replace(path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        sync(directory)
    finally:
        os.close(directory)


def _read(path: Path) -> tuple[Page, bool]:
    """The page, and whether it differs from what is on disk."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return Page(), False
    try:
        return _PAGE.validate_json(content), False
    except (ValidationError, ValueError) as error:
        aside = path.with_suffix(".broken")
        path.replace(aside)
        log.error("ledger unreadable, begun anew", kept_as=str(aside), reason=str(error).splitlines()[0])
        return Page(), True


def _read_copies(path: Path) -> tuple[Copy, ...]:
    """What is kept for a rebuild; nothing when it cannot be read: the next session brings it again."""
    try:
        return _COPIES.validate_json(path.read_bytes())
    except FileNotFoundError:
        return ()
    except (ValidationError, ValueError) as error:
        log.warning("copies unreadable, they are asked for anew", reason=str(error).splitlines()[0])
        return ()


def _lock(path: Path) -> int:
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise LedgerLocked(f"another agent works with {path.parent}") from None
    return handle
