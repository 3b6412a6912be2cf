"""Defects of core.control on purpose: each is what somebody could write by mistake, and the machine must see it."""

import contextlib
from collections.abc import Callable
from typing import Any, NamedTuple
from unittest import mock

from holdfast.core import control as module
from holdfast.core.control import NOBODY, Bar, Buckets, Change, Control, How, Line, Operator

Patch = Callable[[], contextlib.AbstractContextManager[Any]]


class Mutant(NamedTuple):
    name: str
    patch: Patch


def _replaced(name: str, function: Any, of: Any = Control) -> Patch:
    return lambda: mock.patch.object(of, name, function)


def _term_not_checked(self: Control, by: Operator, term: int, *, accepted: bool = False) -> None:
    """A delayed write is judged by who has control now."""


def _newest_change_only(self: Control, by: Operator, term: int, *, accepted: bool = False) -> None:
    if term and term != self.term and self._changes and not module._harmless(self._changes[-1], by):
        raise module.StaleTerm(term, self.term, "", "")


def _gives_are_harmless(change: Change, to: Operator) -> bool:
    return _harmless(change, to) or (change.how is How.GIVE and change.holder.id == to.id)


def _takes_are_harmless_to_people(change: Change, to: Operator) -> bool:
    return _harmless(change, to) or (to.person and change.how is How.TAKE)


def _ai_takes_from_an_ai(self: Control, act: Any, now: float) -> bool:
    if self.holder.id not in ("", act.by.id) and not self.holder.person and act.verb in module.TYPING:
        return True
    return bool(_in_the_way(self, act, now))


def _holder_not_checked(self: Control, act: Any, now: float) -> bool:
    return False


def _pause_keeps_nobody_out(self: Control, by: Operator) -> None:
    if not by.person and self.bar is Bar.PRIVATE:
        raise module.Private("", 0)


def _a_take_ends_a_pause(self: Control, by: Operator, **more: Any) -> Change | None:
    if by.person and self.bar:
        self.paused_by = self.private_by = ""
    change: Change | None = _take(self, by, **more)
    return change


def _anybody_ends_a_pause(self: Control, by: Operator, bar: Bar, *, on: bool = True, **more: Any) -> Change | None:
    pretended = by if on else Operator(by.id, "human", by.role)
    change: Change | None = _bar_others(self, pretended, bar, on=on, **more)
    return change


def _public_ends_a_pause(self: Control, by: Operator, bar: Bar, *, on: bool = True, **more: Any) -> Change | None:
    if by.person and not on:
        self.paused_by = ""
    change: Change | None = _bar_others(self, by, bar, on=on, **more)
    return change


def _pause_leaves_the_holder(
    self: Control, by: Operator, bar: Bar, *, on: bool = True, now: float, why: str = ""
) -> Any:
    held = self.holder
    change = _bar_others(self, by, bar, on=on, now=now)
    if change is not None and on:
        self.holder = held
    return change


def _anybody_releases(self: Control, by: Operator, *, now: float, why: str = "") -> Change | None:
    return self._change(How.RELEASE, by, NOBODY, now) if self.holder.id else None


def _an_ai_gives(self: Control, by: Operator, to: Operator, *, now: float, why: str = "") -> Change | None:
    pretended = Operator(by.id, "human", by.role)
    change: Change | None = _give(self, pretended, to, now=now)
    return change


def _anybody_gives_what_another_has(self: Control, by: Operator, to: Operator, *, now: float, why: str = "") -> Any:
    if by.person and self.holder.person and self.holder.id not in (by.id, to.id):
        return self._change(How.GIVE, by, to, now)
    return _give(self, by, to, now=now)


def _roles_not_checked(self: Control, by: Operator, verb: str) -> None:
    """A guest types."""


def _basis_not_checked(self: Control, act: Any, command: str, now: float) -> None:
    if other := self.line.of_others(act.by.id, now):
        raise module.LineBusy(other, 0)
    if wait := self._buckets.wait(act.by.id, now):
        raise module.TooFast(wait)


def _line_not_checked(self: Line, than: str, now: float) -> str:
    return ""


def _only_the_last_typist_has_the_line(self: Line, by: Operator, data: bytes, now: float) -> None:
    self.authors, self.at = ((by,) if module.unsubmitted(data) else ()), now


def _enter_keeps_the_line(self: Line, by: Operator, data: bytes, now: float) -> None:
    self.authors, self.at = tuple(dict.fromkeys((*self.authors, by))), now


def _never_lapses(self: Control, *, now: float, present: bool = False) -> None:
    return None


def _lapses_though_heard(self: Control, by: str, now: float) -> None:
    """What its holder does does not count."""


def _a_persons_control_lapses_though_present(self: Control, *, now: float, present: bool = False) -> Change | None:
    change: Change | None = _lapse(self, now=now, present=False)
    return change


def _no_rate(self: Buckets, who: str, now: float) -> float:
    return 0.0


def _typing_takes_nothing(self: Control, act: Any, how: How | None, *, now: float) -> Change | None:
    change: Change | None = _goes(self, act, None if how is How.TAKE else how, now=now)
    return change


def _reports_take(self: Control, act: Any, now: float) -> bool:
    return bool(_in_the_way(self, act._replace(data=b"x"), now))


def _recovers_as_before(self: Control, floor: int, *, now: float) -> Change | None:
    return self._change(How.RECOVER, NOBODY, self.holder, now) if floor > self.term else None


def _changes_first(self: Control, act: Any, *, now: float, command: str = "") -> Change | None:
    if not act.by.person and not self.holder.id and not self.bar and act.by.kind == "ai":
        self._change(How.CLAIM, act.by, act.by, now)
    change: Change | None = self.goes(act, self.allows(act, now=now, command=command), now=now)
    return change


def _still_anything(self: Control, by: Operator, term: int) -> None:
    """What was accepted is written, whatever happened since."""


_harmless, _in_the_way, _take, _give = module._harmless, Control._in_the_way, Control.take, Control.give
_bar_others, _lapse, _goes = Control.bar_others, Control.lapse, Control.goes

MUTANTS = (
    Mutant("term not checked", _replaced("_current", _term_not_checked)),
    Mutant("newest change only", _replaced("_current", _newest_change_only)),
    Mutant("gives are harmless", _replaced("_harmless", _gives_are_harmless, module)),
    Mutant("takes are harmless to people", _replaced("_harmless", _takes_are_harmless_to_people, module)),
    Mutant("an ai takes from an ai", _replaced("_in_the_way", _ai_takes_from_an_ai)),
    Mutant("holder not checked", _replaced("_in_the_way", _holder_not_checked)),
    Mutant("pause keeps nobody out", _replaced("_barred", _pause_keeps_nobody_out)),
    Mutant("a take ends a pause", _replaced("take", _a_take_ends_a_pause)),
    Mutant("anybody ends a pause", _replaced("bar_others", _anybody_ends_a_pause)),
    Mutant("public ends a pause", _replaced("bar_others", _public_ends_a_pause)),
    Mutant("pause leaves the holder", _replaced("bar_others", _pause_leaves_the_holder)),
    Mutant("anybody releases", _replaced("release", _anybody_releases)),
    Mutant("an ai gives", _replaced("give", _an_ai_gives)),
    Mutant("anybody gives what another has", _replaced("give", _anybody_gives_what_another_has)),
    Mutant("roles not checked", _replaced("_may_type", _roles_not_checked)),
    Mutant("basis not checked", _replaced("_world_stands", _basis_not_checked)),
    Mutant("line not checked", _replaced("of_others", _line_not_checked, Line)),
    Mutant("only the last typist has the line", _replaced("typed", _only_the_last_typist_has_the_line, Line)),
    Mutant("never lapses", _replaced("lapse", _never_lapses)),
    Mutant("lapses though heard", _replaced("heard_of", _lapses_though_heard)),
    Mutant("a persons control lapses though present", _replaced("lapse", _a_persons_control_lapses_though_present)),
    Mutant("no rate", _replaced("wait", _no_rate, Buckets)),
    Mutant("typing takes nothing", _replaced("goes", _typing_takes_nothing)),
    Mutant("recovers as before", _replaced("recover", _recovers_as_before)),
    Mutant("changes before it refuses", _replaced("weigh", _changes_first)),
    Mutant("still anything", _replaced("still", _still_anything)),
)
