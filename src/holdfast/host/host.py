"""The host: every session of one user on one machine. Adopts what runs, begins what is asked, lets go what ended.

Not here: what one session does (session), what is said to clients (requests, server), the process around it (daemon).
"""

import asyncio
import contextlib
import logging
import os
import platform
import secrets
import sys
import time
from collections.abc import AsyncIterator, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import holdfast
from holdfast.core import identity as identity_core
from holdfast.core.errors import CannotStart, Fenced, HoldError, NameTaken, NoSuchSession, TooMany
from holdfast.core.identity import Revocations
from holdfast.core.ids import SessionId, checked_name, host_id, is_session_id, session_id
from holdfast.core.journal import Author
from holdfast.core.life import Signal
from holdfast.core.places import Places
from holdfast.core.sizing import clamped
from holdfast.edge import due, ownrelay
from holdfast.edge.files import write_durably
from holdfast.holder import protocol as p
from holdfast.host import requests, shells, store
from holdfast.host.archive import Archive, Archiver
from holdfast.host.cgroups import Groups
from holdfast.host.config import Config
from holdfast.host.consult import Consultant
from holdfast.host.ending import exit_code
from holdfast.host.holders import Holder, Keeper, Plan
from holdfast.host.identity import Identity, now_s
from holdfast.host.invitations import Invitations
from holdfast.host.journal import Journal
from holdfast.host.notary import Notary
from holdfast.host.output import Output
from holdfast.host.policyfile import PolicyFile
from holdfast.host.push import Push
from holdfast.host.refusing import Refusing
from holdfast.host.relays import Relays
from holdfast.host.session import Session
from holdfast.host.store import Sheet, Shelf
from holdfast.host.tuple import members, read_stat
from holdfast.host.views import Views, ViewState
from holdfast.host.witness import Witness
from holdfast.wire import messages as wire

if TYPE_CHECKING:
    from holdfast.host.clients import Client

log = logging.getLogger(__name__)

HEAL_S: Final = 5.0
LEAVE_S: Final = 2.0  # for a keeper that keeps nothing to end
RELIEF_S: Final = 1.0  # what a start spends at most on rings that are nearly full
SEGMENT_BYTES: Final = 1 << 20  # of journals: a restart reads the newest one of each session
ADOPTIONS: Final = 32  # at once, at start


class Host:
    """Everything the daemon holds. ``start`` before anything else; ``stop`` leaves every session running."""

    def __init__(self, places: Places, config: Config) -> None:
        self.places, self.config = places, config
        self.name = platform.node() or "localhost"
        self.software = f"holdfast {holdfast.__version__}"
        self.id = ""
        self.generation = 0
        self.started_at = time.time()
        self.stopping = False
        self.stop_asked = asyncio.Event()
        self.replaced = False  # whoever asked to stop starts a successor
        self.notes: list[str] = []
        self.sessions: dict[str, Session] = {}
        self.shelf = Shelf(places.sessions)
        self.groups = Groups.find(str(places.state))
        self.identity = Identity(places.state / "identity")
        self.notary = Notary(self.identity)
        self.archiver = Archiver()
        self.policy, self.consultant = PolicyFile(places.policy), Consultant()
        self.views = Views(source=self, on_reply=self._reply, on_state=self._view_state)
        self._keeper: Keeper | None = None
        self._keeping = asyncio.Lock()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._showing: dict[str, int] = {}
        self._strangers: dict[str, Session] = {}  # they run, and cannot be reached
        self.clients: set[Client] = set()
        self.relays = Relays(self)
        self.witness = Witness(self, places.state / "witness")
        self.refusing = Refusing(self)
        self.push = Push(self, places.state / "notices")
        self.invitations = Invitations(self, places.state / "identity" / "invitations")

    # ---- beginning and end ----

    async def start(self) -> None:
        """Adopt every session that runs. Raises HoldError when there is no keeper to be had or no place to write."""
        self._generation_up()
        self.groups.leave()  # a host that was started inside a session is no part of it
        self.groups.sweep()
        await self.keeper()
        gate = asyncio.Semaphore(ADOPTIONS)

        async def one(sheet: Sheet) -> None:
            async with gate:
                try:
                    await self._restore(sheet)
                except Exception:  # one session's trouble must not keep the others from being adopted
                    log.exception("%s could not be restored", sheet.id)
                    self.notes.append(f"session {sheet.name} ({sheet.id}) could not be restored; see the log")

        sheets = self.shelf.sheets()
        async with asyncio.TaskGroup() as group:
            for sheet in sheets:
                if isinstance(sheet, Path):
                    self.notes.append(f"{sheet.name}: its record cannot be read; left as it is")
                else:
                    group.create_task(one(sheet), name=f"restore {sheet.id}")
        await self._relieve()
        self._forget_old()
        self.relays.follow()

    async def _relieve(self) -> None:
        """Archive what earlier hosts left in rings that are half full before anything else: of hosts that are killed one
        after the other while a program floods, none may leave more behind than it found."""
        outputs = [session.output for session in self.sessions.values()]
        full = [
            each
            for each in outputs
            if (ring := each.ring) is not None and ring.head - each.archive.end > ring.size // 2
        ]
        await asyncio.gather(*(self.archiver.finish(each, RELIEF_S) for each in full))

    def _generation_up(self) -> None:
        """Take the next generation number, and the identity made at the first start."""
        self.places.state.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self.places.state / "host"
        try:
            host, generation = path.read_text().split()
            self.id, self.generation = host, int(generation) + 1
        except (FileNotFoundError, ValueError):
            self.id, self.generation = host_id(secrets.token_bytes(16)), 1
        if (pair := self.notary.pair) is not None:
            self.id = identity_core.host_id(pair.key)
        write_durably(path, f"{self.id} {self.generation}\n".encode())

    async def keeper(self) -> Keeper:
        """Return a living keeper, starting one if there is none."""
        async with self._keeping:
            if self._keeper is None or self._keeper.lost.is_set():
                self._keeper = await Keeper.reach(self.places)
                log.info("keeper %d", self._keeper.pid)
            return self._keeper

    @property
    def keeper_pid(self) -> int:
        return self._keeper.pid if self._keeper is not None else 0

    async def stop(self) -> None:
        """Let go of everything; sessions run on, held by their holders."""
        self.stopping = True
        self.invitations.close()
        self.refusing.close()
        await self.relays.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LEAVE_S):
                for session in self.sessions.values():
                    await session.settled()
        for session in self.sessions.values():
            session.commands.keep()
            await session.suspend()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.views.close()
        await asyncio.to_thread(self.archiver.close)
        if not self.running():
            self.groups.sweep()
        if self._keeper is not None:
            if not self.running() and not self.replaced:  # nothing is kept: leave nothing behind
                with contextlib.suppress(HoldError, TimeoutError):
                    await asyncio.wait_for(self._keeper.leave(), LEAVE_S)
            await self._keeper.close()

    def spawn(self, work: Coroutine[Any, Any, Any], name: str) -> None:
        """Run ``work`` as a task of this host. A failure is logged."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._task_done)

    def _task_done(self, task: "asyncio.Task[Any]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("task %s failed", task.get_name(), exc_info=error)

    async def heal(self) -> None:
        """What is looked after on a slow clock: the keeper, old records."""
        if self._keeper is not None and self._keeper.lost.is_set():
            log.warning("the keeper died; a new one collects the descriptors from the holders")
            await self.keeper()
        for session in self.running():
            session.keep_view()
            session.commands.keep()
            session.flush()
            session.binding.look()
            session.bell.archive()
        self.witness.look()
        await self._try_strangers()
        self._forget_old()
        if due.claimed(str(self.places.keys)):
            self.spawn(self._keep_up(), "upkeep")
        if await asyncio.to_thread(ownrelay.keep, self.places.state / "relay"):
            log.warning("the relay of this machine was gone; it runs again")

    async def _keep_up(self) -> None:
        """Have this user's certificates renewed that end soon, this host's among them, where the keys for that are."""
        program = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "holdfast.client.upkeep", stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL, cwd="/",
        )  # fmt: skip
        await program.wait()

    # ---- who it is ----

    @property
    def revocations(self) -> Revocations:
        """What the tenant has taken back, as far as this host knows."""
        return self.identity.revocations

    def epoch(self, about: str) -> int:
        """Return the fencing number of the home of a session, or of this host for what has no session yet."""
        return 1  # sessions stay where they were born, so far

    def identity_said(self, ref: int) -> wire.Identity:
        """Return who this host is; it gets keys now if it has none."""
        mine = self.identity
        key = mine.pair.key
        self.id = identity_core.host_id(key)
        record = mine.record(now=now_s()) if mine.tenant else b""
        return wire.Identity(ref, key, mine.tenant, mine.certificates, self.relays.states(), record)

    def enrol(self, ask: wire.Enrol) -> None:
        """Become a member of a tenant, or renew that, and dial its relays; no tenant: leave it. Raises HoldError."""
        if not ask.tenant:
            self.identity.leave()
            self.relays.follow()
            return
        self.identity.enrol(
            tenant=ask.tenant, certificates=ask.certificates, relays=ask.relays, name=ask.name, now=now_s()
        )
        self.id = identity_core.host_id(self.identity.pair.key)
        self.relays.follow()

    def learn(self, revocations: bytes, issuer: bytes) -> None:
        """Take note of a revocation list and cut off at once who falls under it (R56). Raises HoldError."""
        if self.identity.learn(revocations, issuer=issuer, now=now_s()):
            self.relays.pass_on(revocations, issuer)
            self.reconsider()

    def reconsider(self) -> None:
        """Rights may have ended: look at everybody who is here."""
        for client in list(self.clients):
            client.reconsider()
        self.push.reconsider()

    # ---- sessions ----

    def known(self, name: str) -> Session | None:
        """Return the session ``name`` means: an id, or a name (the running one, else the one that ended last)."""
        if is_session_id(name):
            return self.sessions.get(name)
        named = (s for s in self.sessions.values() if s.name == name)
        return min(named, key=lambda s: (s.over, -s.sheet.created_at), default=None)

    def find(self, name: str) -> Session:
        """Return what ``known`` does. Raises NoSuchSession."""
        if (found := self.known(name)) is None:
            raise NoSuchSession(name)
        return found

    def running(self) -> list[Session]:
        """Return the sessions that have not ended."""
        return [s for s in self.sessions.values() if not s.over]

    async def open(self, ask: wire.Open, client: str, operator: str) -> tuple[Session, bool]:
        """Return the session ``ask`` wants and whether it was made now."""
        key = f"{client}/{ask.key}" if ask.key else ""
        if key and (made := next((s for s in self.sessions.values() if s.sheet.key == key), None)) is not None:
            return made, False
        if ask.name:
            checked_name(ask.name)
            running = next((s for s in self.running() if s.name == ask.name), None)
            if running is not None:
                if ask.reuse:
                    return running, False
                raise NameTaken(ask.name)
        if len(self.running()) >= self.config.sessions_max:
            raise TooMany(f"{self.config.sessions_max} sessions run here already; none was added",
                          do="end some, or raise sessions_max in the host's configuration")  # fmt: skip
        if not ask.argv or not ask.argv[0]:
            raise CannotStart("no command was given; no session was made", do="name the command to run")
        session = await self._begin(ask, operator, key)
        return session, True

    async def _begin(self, ask: wire.Open, operator: str, key: str) -> Session:
        session_name = ask.name or self._free_name(ask.argv[0])
        rows, cols = clamped(ask.size.rows, ask.size.cols)
        sheet = Sheet(
            id=session_id(secrets.token_bytes(16)), name=session_name, argv=ask.argv, cwd=ask.cwd,
            created_at=time.time(), policy=ask.policy or self.config.reap, rows=rows, cols=cols,
            born_rows=rows, born_cols=cols, key=key,
        )  # fmt: skip
        keeper = await self.keeper()
        folder = self.shelf.create(sheet)
        group = self.groups.make(sheet.id, memory_max=self.config.memory_max)
        plan = Plan(
            session=sheet.id, argv=ask.argv, env=session_env(ask.env, sheet.id), cwd=ask.cwd, rows=rows, cols=cols,
            ring_bytes=self.config.ring_bytes, cgroup_procs=group.procs_files if group is not None else (),
            exit_file=str(folder / store.EXIT),
        )  # fmt: skip
        session = None
        try:
            if ask.integration and keeper.features & p.F_MARKS:
                plan = shells.marked(plan, folder)
            journal = self._journal(sheet)
            session = Session(self, sheet, journal, self._output(sheet))
            self.sessions[sheet.id] = session
            session.record("born", operator, {"name": sheet.name, "argv": list(sheet.argv), "cwd": sheet.cwd})
            await keeper.spawn(plan)
            holder = await self.adopt(sheet.id)
        except BaseException:
            self.sessions.pop(sheet.id, None)
            if session is not None:
                session.journal.close()
            self.groups.remove(sheet.id)
            self.shelf.remove(sheet.id)
            raise
        await self.views.open(SessionId(sheet.id), rows=rows, cols=cols, offset=0, keyframe=None)
        await session.take(holder, began=True)
        session.commands.begin()
        session.record("running", "host", {"pid": sheet.root_pid, "rows": rows, "cols": cols})
        return session

    def _free_name(self, command: str) -> str:
        stem = (
            "".join(c if c.isalnum() or c in "._-" else "-" for c in os.path.basename(command)).strip(".-_")[:48]
            or "session"
        )
        taken = {s.name for s in self.running()}
        if stem not in taken:
            return checked_name(stem)
        return next(f"{stem}-{n}" for n in range(2, len(taken) + 3) if f"{stem}-{n}" not in taken)

    def _journal(self, sheet: Sheet) -> Journal:
        journal = Journal.open(
            self.shelf.of(sheet.id) / "journal",
            session=sheet.id, incarnation=sheet.incarnation, generation=self.generation,
            keep_bytes=self.config.journal_bytes, segment_bytes=SEGMENT_BYTES,
        )  # fmt: skip
        journal.notary = self.notary
        return journal

    def _output(self, sheet: Sheet) -> Output:
        archive = Archive(self.shelf.of(sheet.id) / "output", keep_bytes=self.config.archive_bytes)
        return Output(archive, known_end=sheet.output_end)

    async def _restore(self, sheet: Sheet) -> None:
        """Take up a session this host has a record of: adopt it, or write down how it ended."""
        session = Session(self, sheet, self._journal(sheet), self._output(sheet))
        self.sessions[sheet.id] = session
        if sheet.ending is not None:
            session.journal.close()
            return
        session.record("host-generation", "host", {"generation": self.generation, "pid": os.getpid()})
        try:
            await self._take_up(session)
        except HoldError as error:
            if self.is_dead(sheet):
                await self.write_down(session, error)
            else:
                self.estranged(session, error)

    async def write_down(self, session: Session, error: HoldError) -> None:
        """Note how a session ended of which nothing runs any more."""
        left = self.shelf.exit_of(session.id)
        if left is not None:
            await session.finish(Signal.ROOT_EXITED, exit_code(left.status), f"status kept by the {left.by}")
        else:
            await session.finish(Signal.LOSE, None, f"no holder answers: {error.message}")

    def estranged(self, session: Session, error: HoldError) -> None:
        """``session`` runs and cannot be reached (its holder hangs, or speaks another version): keep trying, say so."""
        self._strangers[session.id] = session
        log.error("%s runs and cannot be reached: %s", session.id, error)

    async def _take_up(self, session: Session) -> None:
        """Adopt the holder of a session found at start. Raises HoldError."""
        holder = await self.adopt(session.id)
        session.output.attach(holder.ring)
        session.bell.head = max(session.bell.head, holder.ring.head)
        await session.begin_view(holder.ring.marks(0))
        await session.take(holder, found=True)
        session.commands.begin(holder.ring.marks(0))

    async def _try_strangers(self) -> None:
        for session in list(self._strangers.values()):
            try:
                await self._take_up(session)
            except HoldError as error:
                if not self.is_dead(session.sheet):
                    continue
                await self.write_down(session, error)
            del self._strangers[session.id]

    async def adopt(self, session: str) -> Holder:
        """Link to the holder of ``session``. A holder that obeys a newer host means that this one is over."""
        try:
            return await Holder.adopt(self.places.holders / f"{session}.sock", generation=self.generation)
        except Fenced:
            log.error("a newer host holds %s; this one stops", session)
            self.stop_asked.set()
            raise

    def is_dead(self, sheet: Sheet) -> bool:
        """Tell whether the root process of ``sheet`` is certainly gone."""
        if not sheet.root_pid:  # a host died before it wrote down which it is
            return not members(0, session=sheet.id, group=self.groups.of(sheet.id)).stats
        stat = read_stat(sheet.root_pid)
        return stat is None or stat.started != sheet.root_started

    async def let_go(self, session: Session) -> None:
        """The session ended and everything of it is kept: keeper and cgroup may forget it."""
        try:
            await (await self.keeper()).forget(session.id)
        except HoldError as error:
            log.warning("%s: %s", session.id, error)
        self.groups.remove(session.id)
        session.journal.close()

    def forget(self, session: Session) -> None:
        """Remove the record of an ended session."""
        self.sessions.pop(session.id, None)
        self.shelf.remove(session.id)

    def _forget_old(self) -> None:
        ended = sorted((s for s in self.sessions.values() if s.sheet.ending is not None and s.over),
                       key=lambda s: s.sheet.ending.at if s.sheet.ending else 0.0, reverse=True)  # fmt: skip
        for number, session in enumerate(ended):
            assert session.sheet.ending is not None
            old = time.time() - session.sheet.ending.at > self.config.ended_keep_s
            if (old or number >= self.config.ended_max) and session.id not in self._showing:
                self.forget(session)

    @contextlib.asynccontextmanager
    async def shown(self, session: Session) -> AsyncIterator[None]:
        """Have the last screen of an ended session in a view for as long as the block lasts."""
        count = self._showing.get(session.id, 0)
        self._showing[session.id] = count + 1
        try:
            if not count:
                await session.begin_view()
            yield
        finally:
            self._showing[session.id] -= 1
            if not self._showing[session.id]:
                del self._showing[session.id]
                self.views.close_session(SessionId(session.id))

    async def serve(self, message: wire.ToHost, peer: "Client", by: Author) -> wire.Message | None:
        """Return the answer to ``message``, asked ``by`` that operator, who may."""
        return await requests.serve(self, message, peer, by)

    async def upgrade(self, operator: str) -> tuple[int, int, dict[str, str]]:
        """Put this version's code under the keeper and all holders, one after the other, in place (R17).

        Return the keeper's pid, how many holders run it, and what went wrong for whom; a holder that could not be
        upgraded goes on with the code it has.
        """
        keeper = await self.keeper()
        await keeper.upgrade()
        done, failed = 0, {}
        for session in self.running():
            try:
                await session.upgrade(operator)
                done += 1
            except HoldError as error:
                failed[session.name] = error.message
        return keeper.pid, done, failed

    def status(self, ref: int) -> wire.Status:
        """Return what this host is and what it has to say about the machine."""
        places = self.places
        strange = [f"session {s.name} runs and cannot be reached; see the log" for s in self._strangers.values()]
        return wire.Status(
            ref, os.getpid(), self.generation, self.started_at, self.software, len(self.running()), self.keeper_pid,
            self.views.pids, str(places.runtime), str(places.state),
            (*self.notes, *strange, *self.policy.notes, *self.groups.notes, *self.views.notes,
             *filter(None, [self.notary.trouble, self.witness.trouble])),
        )  # fmt: skip

    # ---- what views and archive need ----

    async def read(self, session: SessionId, offset: int, most: int) -> tuple[int, bytes]:
        """Return output of ``session`` from ``offset``, or from the first byte after it that is still kept."""
        chunk = self.sessions[session].output.read(offset, most)
        return chunk.offset, chunk.data

    def _reply(self, session: SessionId, query_end: int, reply: bytes) -> None:
        if (known := self.sessions.get(session)) is not None and not known.over:
            known.replies.give(query_end, reply)

    def _view_state(self, session: SessionId, state: ViewState) -> None:
        if (known := self.sessions.get(session)) is not None:
            known.sheet.title = state.title

    def archive(self, session: Session) -> None:
        """There is more output: have it archived when the archiver sees fit."""
        self.archiver.request(session.output)

    async def archive_rest(self, session: Session) -> None:
        """Archive everything up to the head, now."""
        await self.archiver.finish(session.output)


def session_env(given: dict[str, str], session: str) -> dict[str, str]:
    """Return the environment a session starts with: the asker's, on our terminal, and marked as inside."""
    env = {
        k: v
        for k, v in given.items()
        if k not in ("LINES", "COLUMNS", "TERMCAP", "WINDOWID", "TMUX", "TMUX_PANE", "STY")
    }
    env |= {"TERM": "xterm-256color", "COLORTERM": "truecolor", "HOLDFAST_SESSION": session}
    return env
