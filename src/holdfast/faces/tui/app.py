"""Draw the dashboard and take its keys. The only module that knows Textual.

Not here: what there is to show (watch). Every text of a session is shown as text: no escape sequence or markup of it is obeyed.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from typing import Any, ClassVar, Final

from rich.text import Text
from textual.app import App, ComposeResult, SuspendNotSupported
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.screen import ModalScreen
from textual.widgets import DataTable, Footer, Input, Static

import holdfast as hf
from holdfast.core.errors import HoldError
from holdfast.core.visible import visible
from holdfast.faces.cli.show import clean, command
from holdfast.faces.tui.watch import Row, Watch

LOOK_S: Final = 0.5  # between looks: what is shown is at most this old, and an idle dashboard costs next to nothing
COLUMNS: Final = ("session", "host", "waits for", "control", "idle", "command")
HOLD: Final = (sys.executable, "-m", "holdfast.faces.cli.main")


class Ask(ModalScreen[bool | None]):
    """A question with exactly what it is about. ``y`` answers yes; everything else leaves things as they are."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "answer(True)", "Yes"), Binding("n", "answer(False)", "No"), Binding("escape", "leave", "Leave it"),
    ]  # fmt: skip

    def __init__(self, title: str, about: str) -> None:
        super().__init__()
        self._title, self._about = title, about

    def compose(self) -> ComposeResult:
        with Vertical(id="ask"):
            yield Static(Text(self._title, style="bold"))
            yield Static(Text(self._about), id="about")
            yield Static(Text("y yes   n no   Esc leave it"), id="keys")

    def action_answer(self, yes: bool) -> None:
        self.dismiss(yes)

    def action_leave(self) -> None:
        self.dismiss(None)


class Dashboard(App[None]):
    """The sessions of every host, and what the chosen one shows now."""

    TITLE = "hold"
    ENABLE_COMMAND_PALETTE = False
    CSS = """
    #left { width: 60%; }
    #sessions { height: 1fr; overflow-x: hidden; }
    #find { display: none; height: 3; }
    #find.shown { display: block; }
    #waiting { height: auto; max-height: 8; background: $warning 20%; padding: 0 1; display: none; }
    #waiting.shown { display: block; }
    #right { width: 40%; border-left: solid $primary; }
    #about-it { height: 1; background: $panel; padding: 0 1; }
    #screen { height: 1fr; padding: 0 1; overflow: hidden hidden; }
    #said { height: 1; padding: 0 1; color: $error; }
    Ask { align: center middle; }
    #ask { width: 80%; height: auto; max-height: 80%; border: thick $primary; background: $surface; padding: 1 2; }
    #about { margin: 1 0; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "attach", "Attach", priority=False), Binding("t", "take", "Take"), Binding("r", "release", "Release"),
        Binding("p", "pause", "Pause AI"), Binding("a", "decide", "Approvals"), Binding("k", "kill", "End it"),
        Binding("slash", "find", "Find"), Binding("q", "quit", "Quit"),
    ]  # fmt: skip

    def __init__(self, watch: Watch | None = None) -> None:
        super().__init__()
        self.watch_ = watch or Watch()
        self.rows: list[Row] = []
        self.pending: list[tuple[Row, hf.Proposal]] = []
        # Kept by name: a look that ends while the dashboard is being left draws into widgets that are gone already.
        self.table: DataTable[Text] = DataTable(id="sessions", cursor_type="row", zebra_stripes=True)
        self.box = Input(placeholder="part of a name, a host or a command", id="find")
        self.waiting = Static(id="waiting")
        self.about, self.preview = Static(id="about-it"), Static(id="screen")
        self.said = Static(Text("Enter attaches; leaving comes back here", style="dim"), id="said")
        self._find = ""
        self._shown: tuple[str, int] = ("", -1)  # which screen, up to which output
        self._looking = asyncio.Lock()

    # ---- what is drawn ----

    def compose(self) -> ComposeResult:
        with Horizontal():
            with Vertical(id="left"):
                yield self.table
                yield self.box
                yield self.waiting
            with Vertical(id="right"):
                yield self.about
                yield self.preview
        yield self.said
        yield Footer()

    async def on_mount(self) -> None:
        self.table.add_columns(*COLUMNS)
        self.table.focus()
        await self.look()
        self.set_interval(LOOK_S, self.look)

    async def on_unmount(self) -> None:
        await self.watch_.close()

    @property
    def chosen(self) -> Row | None:
        """The session under the cursor."""
        shown, at = self._filtered(), self.table.cursor_row
        return shown[at] if 0 <= at < len(shown) else None

    async def look(self) -> None:
        """Ask anew and draw what changed. One look at a time: a slow host delays the next, and no queue builds up."""
        if self._looking.locked() or not self.is_running:
            return
        async with self._looking:
            self.rows = await self.watch_.rows()
            self.pending = await self.watch_.proposals(self.rows)
            self._draw_table()
            self._draw_waiting()
            await self._draw_screen()

    def _filtered(self) -> list[Row]:
        def words(row: Row) -> str:
            return f"{row.info.name} {row.place.name} {' '.join(row.info.argv)}".lower()

        return [row for row in self.rows if self._find.lower() in words(row)]

    def _draw_table(self) -> None:
        kept = self.chosen_key
        table, shown = self.table, self._filtered()
        table.clear()
        for row in shown:
            info = row.info
            cells = (
                info.name,
                row.place.name,
                info.waiting,
                row.controller,
                f"{info.idle_s:.0f}s",
                command(info.argv)[:60],
            )
            table.add_row(*(Text(clean(cell)) for cell in cells), key=row.key)
        if (at := next((n for n, row in enumerate(shown) if row.key == kept), None)) is not None:
            table.move_cursor(row=at, animate=False)
        silent = [f"{place.name}: {place.why}" for place in self.watch_.places if place.why]
        self.sub_title = f"{len(shown)} sessions" + (f", not reached: {'; '.join(silent)}" if silent else "")
        self._kept = self.chosen_key or kept

    _kept = ""

    @property
    def chosen_key(self) -> str:
        table = self.table
        if not table.row_count:
            return self._kept
        try:
            return str(table.coordinate_to_cell_key((table.cursor_row, 0)).row_key.value or "")  # type: ignore[arg-type]
        except Exception:  # the cursor is on a row that was just removed
            return self._kept

    def _draw_waiting(self) -> None:
        box = self.waiting
        box.set_class(bool(self.pending), "shown")
        lines = [f"{len(self.pending)} wait for you (a):"] + [
            f"  {clean(row.info.name)}: {visible(each.data)[:80]}" for row, each in self.pending[:6]
        ]
        box.update(Text("\n".join(lines)))

    async def _draw_screen(self) -> None:
        row = self.chosen
        about, screen = self.about, self.preview
        if row is None:
            about.update("")
            screen.update(Text("no sessions are running; `hold new NAME` starts one" if not self.rows else ""))
            return
        about.update(Text(f"{clean(row.info.name)}@{clean(row.place.name)}  {row.controller}  {clean(row.info.title)}"))
        now = (row.key, row.info.output_end)
        if now == self._shown:
            return
        try:
            lines = await self.watch_.screen(row)
        except HoldError as error:
            screen.update(Text(str(error)))
            return
        self._shown = now
        screen.update(Text("\n".join(clean(line) for line in lines), no_wrap=True, overflow="crop"))

    def say(self, text: str) -> None:
        """Say what happened, or did not, below everything."""
        self.said.update(Text(text))

    # ---- keys ----

    async def on_data_table_row_highlighted(self, event: DataTable.RowHighlighted) -> None:
        if not self._looking.locked():
            await self._draw_screen()

    def on_data_table_row_selected(self, event: DataTable.RowSelected) -> None:
        self.action_attach()

    def action_attach(self) -> None:
        """Give the terminal to `hold attach` until it is done."""
        if (row := self.chosen) is None:
            return
        place = row.place
        name = row.info.id if place.path is None else f"{row.info.id}@{place.path.rpartition('/')[2]}"
        env = os.environ | ({"HOLDFAST_PROFILE": place.profile} if place.profile else {})
        try:
            with self.suspend():
                subprocess.run([*HOLD, "attach", name], env=env, check=False)
        except SuspendNotSupported:
            self.say(f"this terminal cannot be given away; elsewhere: hold attach {name}")
        self._shown = ("", -1)
        self.refresh()

    async def _do(self, what: Any, said: str) -> None:
        if (row := self.chosen) is None:
            return
        try:
            await what(row)
        except HoldError as error:
            self.say(str(error))
        else:
            self.say(f"{row.info.name}: {said}")
        await self.look()

    async def action_take(self) -> None:
        await self._do(self.watch_.take, "you have control")

    async def action_release(self) -> None:
        await self._do(self.watch_.release, "released")

    async def action_pause(self) -> None:
        await self._do(self.watch_.pause, "AI operators paused, or going on")

    def action_kill(self) -> None:
        if (row := self.chosen) is not None:
            about = f"{command(row.info.argv)}\non {row.place.name}, with everything that runs in it"
            self.push_screen(Ask(f"End session {row.info.name}?", clean_lines(about)), self._kill_answered)

    async def _kill_answered(self, yes: bool | None) -> None:
        if yes:
            await self._do(self.watch_.kill, "ended")

    def action_decide(self) -> None:
        """Show what waits longest, exactly, and decide it: by its hash, so that what is approved is what was shown."""
        if not self.pending:
            self.say("nothing waits for your approval")
            return
        row, it = self.pending[0]
        info = it.info
        why = f"\nwhy: {info.why}" if info.why else ""
        for_ = f" for {row.called(info.on_behalf_of)}" if info.on_behalf_of else ""
        name = row.names.get(info.operator.partition("/")[0])
        who = f"{name} ({info.operator})" if name else info.operator
        about = (
            f"{info.kind} {who}{for_} in {row.info.name}@{row.place.name}, folder {info.cwd or '?'}{why}\n"
            f"rule: {info.rule} {info.reason}\n\n{info.verb}: {visible(it.data)}\n\nhash {it.digest.hex()[:16]}"
        )

        async def decided(yes: bool | None) -> None:
            if yes is None:
                return
            try:
                await (it.approve() if yes else it.deny())
            except HoldError as error:
                self.say(str(error))
            else:
                self.say(f"proposal {it.id}: {it.state}")
            await self.look()

        self.push_screen(Ask(f"Let it do this? ({len(self.pending)} wait)", clean_lines(about)), decided)

    def action_find(self) -> None:
        self.box.add_class("shown")
        self.box.focus()

    async def on_input_changed(self, event: Input.Changed) -> None:
        self._find = event.value
        self._draw_table()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        if not event.value:
            event.input.remove_class("shown")
        self.table.focus()

    def on_key(self, event: Any) -> None:
        if event.key == "escape" and self.focused is self.box:
            self.box.value = ""
            self.box.remove_class("shown")
            self.table.focus()


def clean_lines(text: str) -> str:
    return "\n".join(clean(line) for line in text.split("\n"))


def main() -> int:
    """Run the dashboard until it is left; return the exit status."""
    Dashboard().run()
    return 0
