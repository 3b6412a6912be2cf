"""What an attached terminal types, and its turn to: numbers, terms and acknowledgements of input; who has control; the keys
that change it. Source: docs/operators.md, "At the keyboard".

Not here: the screen (terminal), which key means what (prefix), what control allows (the host).
"""

from __future__ import annotations

from time import monotonic

from holdfast.client import lean
from holdfast.client.conversation import Conversation
from holdfast.client.line import refusal
from holdfast.client.prefix import APPROVE, GIVE, PAUSE, TAKE, prefix_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from holdfast.client.asking import Asking
    from holdfast.client.prefix import Prefix
    from holdfast.client.tty import Tty

FLYING_MAX = 64  # inputs sent and not yet acknowledged; the host queues 256 for everybody
PIECE = 1 << 16  # bytes in one input
NOTICE_S = 2.5  # seconds a notice stays
REPORTS = (b"\x1b[I", b"\x1b[O", b"\x1b[M", b"\x1b[<")  # focus and mouse: said by the terminal, not by its user


def short(operator: str, kind: str, principal: str, me: str) -> str:
    """Return an operator as a line has room for: who it is to the reader, what it is, for whom it acts."""
    if operator == me:
        return "you"
    name = operator.partition(":")[2] or operator[:10]
    what = {"ai": "AI ", "device": "device ", "service": "service ", "human": ""}.get(kind, "")
    return f"{what}{name} for {'you' if principal == me else principal[:10]}" if principal else f"{what}{name}"


def banner(event: dict[str, Any], me: str) -> str:
    """Return what a change of control is said as, empty if the reader need not be told: it is their own doing by typing,
    or of no consequence to them."""
    act, by = event.get("act"), short(str(event.get("by", "")), str(event.get("by_kind", "")), "", me)
    holder = short(str(event.get("holder", "")), str(event.get("kind", "")), str(event.get("for", "")), me)
    why = f": {event['why']}" if event.get("why") not in (None, "", "typed") else ""
    if act == "take" and event.get("by") == me:
        return f"you have control{why}" if event.get("why") != "typed" else ""
    if act in ("release", "lapse") and event.get("former_kind") != "human":
        return ""  # an AI comes and goes; what it does is seen
    said = {
        "claim": f"{holder} has control", "take": f"{by} took control{why}",
        "give": f"{by} gave control to {holder}{why}", "release": f"{by} released control",
        "lapse": "control lapsed: its holder was silent", "pause": f"{by} paused AI operators{why}",
        "resume": f"{by} lets AI operators act again", "private": f"{by} made this private: only people see it{why}",
        "public": f"{by} ended private", "request": f"{by} asks for control{why}",
    }  # fmt: skip
    return said.get(str(act), "")


class Typist(Conversation):
    """The part of an attached terminal that types. Whoever inherits this shows what it says."""

    session: str
    observe: bool
    attached: bool
    attachment: int
    overlay: str
    prefix: Prefix
    tty: Tty

    def __init__(self, path: str, inside: str) -> None:
        super().__init__(path, inside)
        self.seq = 0
        self.unsent = bytearray()
        self.flying: dict[int, tuple[bytes, int]] = {}  # by number: sent and not acknowledged, in which term
        self.refs: dict[int, int] = {}  # request -> number of the input
        self.repeated = 0  # inputs up to this number were sent more than once
        self.me = ""  # as whom the host knows us
        self.turn: dict[str, Any] = {}  # control as it was last told; empty: a host that has none
        self.former = ""  # who had control before us
        self.asking = ""  # who asked for it last
        self.claimed = ""  # who claimed the free line last
        self.control_ref = 0  # the act of control that is under way
        self.ballot: Asking | None = None  # what waits for approval, once it was asked for

    def _cover(self, kind: str, text: str, until: float | None) -> None:
        raise NotImplementedError

    def _repaint(self) -> None:
        raise NotImplementedError

    # ---- input ----

    def _send_typed(self) -> None:
        while self.attached and self.unsent and len(self.flying) < FLYING_MAX:
            data = bytes(self.unsent[:PIECE])
            del self.unsent[:PIECE]
            self.seq += 1
            self.flying[self.seq] = data, int(self.turn.get("term", 0))
            self._say(self.seq)
            self.seq = lean.number_after(self.seq, data)
        self._flush()

    def _say(self, seq: int) -> None:
        self.ref += 1
        self.refs[self.ref] = seq
        data, term = self.flying[seq]
        self.out += lean.typed(self.ref, self.session, seq, data, self.attachment, term)

    def _say_again(self) -> None:
        """Another attachment took the place of the one that was lost: send under its number what was not answered."""
        self.refs.clear()
        self.repeated = max(self.flying, default=self.repeated)
        for seq in self.flying:
            self._say(seq)

    def _not_typed(self, message: list[Any]) -> bool:
        """Tell whether a refusal was of ours here, and say so."""
        ref, no = message[1], refusal(message)
        if ref == self.control_ref and ref:
            self.control_ref = 0
            self._cover("notice", no.message, monotonic() + NOTICE_S)
            return True
        if self.ballot is not None and ref == self.ballot.ref and ref:
            self.ballot.ref = 0
            self._cover("notice", no.message, monotonic() + 2 * NOTICE_S)
            return True
        if ref not in self.refs:
            return False
        seq = self.refs.pop(ref)
        data, _ = self.flying.pop(seq, (b"", 0))
        if seq <= self.repeated or no.code == "input-unknown":  # it may have been typed the first time (I5)
            self._unknown(len(data))
        else:
            self._cover("notice", f"not typed: {no.message}", monotonic() + NOTICE_S)
        return True

    def _typed(self, message: list[Any]) -> None:
        _, ref, seq, outcome, written, _ = message
        self.refs.pop(ref, None)
        size = len(self.flying.pop(seq, (b"", 0))[0])
        if outcome == "unknown":
            self._unknown(size)
        elif outcome == "refused":
            self._cover("notice", f"{size} typed bytes were refused; they were not typed", monotonic() + NOTICE_S)
        elif outcome == "partial":
            self._cover("notice", f"only {written} of your last {size} typed bytes were taken", monotonic() + NOTICE_S)
        self._send_typed()

    def _unknown(self, size: int) -> None:
        text = f"whether your last {size} typed bytes arrived is unknown; look before you repeat them"
        self._cover("notice", text, monotonic() + 2 * NOTICE_S)

    # ---- control ----

    def _introduced(self, message: list[Any]) -> None:
        """``attached`` says as whom, and how control is."""
        self.turn = message[3].get("control") or {}
        self.me = str(message[7]) if len(message) > 7 else ""

    @property
    def anothers(self) -> bool:
        """Whether somebody else has control."""
        return str(self.turn.get("holder", "")) not in ("", self.me)

    def _said_by_itself(self, data: bytes) -> bool:
        """Whether ``data`` is the terminal's own word while somebody else has control: nobody means to take it thereby."""
        if not self.anothers or data[:1] != b"\x1b":
            return False
        return all((b"\x1b" + each).startswith(REPORTS) for each in data.split(b"\x1b")[1:])

    def _event(self, message: list[Any]) -> None:
        """Something happened in the session; control is what is of interest here."""
        kind, body = message[2], message[6]
        if kind == "proposal":
            self._proposed(str(message[5]), body)
        if kind != "control":
            return
        if body.get("act") == "request":
            self.asking = str(body.get("by", ""))
        elif "bar" in body:
            if body.get("holder") == self.me and body.get("former") not in ("", self.me):
                self.former = str(body["former"]) if body.get("former_kind") != "human" else ""
            if body.get("holder") == self.asking:
                self.asking = ""
            self.turn = {**self.turn, "term": body["term"], "state": body["state"], "holder": body["holder"]}
        text = banner(body, self.me)
        again = body.get("act") == "claim" and body.get("holder") == self.claimed
        if body.get("act") == "claim":
            self.claimed = str(body.get("holder", ""))
        if text and body.get("by") != self.me and not again:
            self._cover("notice", f"{text} | {self._keys(body)}", monotonic() + NOTICE_S)

    def _keys(self, body: dict[str, Any]) -> str:
        key = prefix_name(self.prefix.code)
        if self.observe or self.prefix.code is None:
            return "hold who tells more"
        if body.get("act") == "request":
            return f"{key} g gives it"
        return f"type, or {key} t, to take it" if self.anothers else f"{key} ? keys"

    def _act_control(self, act: str) -> None:
        """Do what a key behind the prefix asks for."""
        if act == TAKE:
            self._ask_control("take")
        elif act == PAUSE:
            self._ask_control("resume" if self.turn.get("state") == "paused" else "pause")
        elif act == APPROVE:
            self._ask_what_waits()
        elif act == GIVE:
            to = self.asking or self.former
            self._ask_control("give" if to else "release", to)

    def _ask_control(self, act: str, to: str = "") -> None:
        self.ref += 1
        self.control_ref = self.ref
        self.out += lean.control(self.ref, self.session, act, to)
        self._flush()

    def _controlled(self, message: list[Any]) -> None:
        """What a key of ours asked for is done."""
        _, ref, control, _, flushed, dropped, cleared = message[:7]
        if ref != self.control_ref:
            return
        self.control_ref, self.turn = 0, control
        holder = short(str(control["holder"]), str(control["kind"]), str(control["on_behalf_of"]), self.me)
        parts = [
            f"{holder} {'have' if holder == 'you' else 'has'} control" if control["holder"] else "nobody has control"
        ]
        if control["state"] in ("paused", "private"):
            parts.append(f"AI operators are kept out ({control['state']})")
        if dropped:
            parts.append(f"{dropped} inputs that waited were dropped")
        if flushed > 0:
            parts.append(f"{flushed} unread bytes were thrown away")
        if cleared:
            parts.append("a half-typed line was cleared")
        self._cover("notice", "; ".join(parts), monotonic() + NOTICE_S)

    # ---- what waits for approval (asking) ----

    def _proposed(self, operator: str, body: dict[str, Any]) -> None:
        """Somebody proposes something: say so, unless another proposal is being looked at."""
        if self.overlay == "asked" or self.observe or self.prefix.code is None:
            return
        what = short(operator, str(body.get("kind", "")), str(body.get("on_behalf_of", "")), self.me)
        key = prefix_name(self.prefix.code)
        self._cover("notice", f"{what} asks for approval | {key} a shows it", monotonic() + 2 * NOTICE_S)

    def _ask_what_waits(self) -> None:
        from holdfast.client.asking import Asking

        self.ballot = self.ballot or Asking()
        self.ref += 1
        self.out += self.ballot.ask(self.ref, self.session)
        self._flush()

    def _pending(self, message: list[Any]) -> None:
        """Show the oldest that waits, every byte of it."""
        if self.ballot is None or not (lines := self.ballot.lines(message, *self.tty.size())):
            return
        shown = self.ballot.shown is not None
        self._cover("asked" if shown else "notice", "\n".join(lines), None if shown else monotonic() + NOTICE_S)

    def _vote(self, key: bytes) -> None:
        """A key was typed while a proposal is shown: it decides about just that, or leaves it."""
        said = self.ballot.decide(key, self.ref + 1, self.session) if self.ballot is not None else None
        if said is not None:
            self.ref += 1
            self.out += said
            self._flush()
        self._repaint()

    def _decided(self, message: list[Any]) -> None:
        if self.ballot is not None and (text := self.ballot.decided(message)):
            self._cover("notice", text, monotonic() + NOTICE_S)


ACTS = (TAKE, GIVE, PAUSE, APPROVE)
