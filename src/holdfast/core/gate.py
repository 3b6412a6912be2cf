"""Decide whether an act may reach the terminal, must be seen by a person first, or may not. Pure.

Not here: who may act at all (admission), whose turn it is (control), what the rules are (policy), what becomes of what
has to be approved (proposals). Source: docs/gate.md, "How it decides"; R66, R67.
"""

from collections.abc import Iterable, Set
from typing import Final, NamedTuple

from holdfast.core.identity import Kind
from holdfast.core.policy import Effect, Form, Match, OnConflict, Policy, Rule, Subject, Verb, texts
from holdfast.core.proposals import Deed, Grant, Widen
from holdfast.core.shellwords import Command, Line, read
from holdfast.core.visible import invisible
from holdfast.core.waiting import SHELLS, Wants

LINES_MAX: Final = 64  # of one input that are looked at
_PASTE: Final = (b"\x1b[200~", b"\x1b[201~")
_INTERRUPT: Final = b"\x03"


class Asked(NamedTuple):
    """An act as the gate sees it. ``session``: its name.

    ``waiting`` and ``program``: what the session waits for, as last seen (core.waiting); empty: not known. ``clean``:
    nothing stands unsubmitted on the line. ``conflict``: who else submitted within the policy's window. ``only_proposes``:
    whoever asks has no right to operate.
    """

    subject: Subject
    session: str
    deed: Deed
    waiting: str = ""
    program: str = ""
    clean: bool = True
    conflict: str = ""
    only_proposes: bool = False


class Reading(NamedTuple):
    """What an act is: its verb, the form of its input, and the lines if they are a shell's."""

    verb: Verb
    form: Form | None = None
    lines: tuple[Line, ...] = ()

    @property
    def commands(self) -> tuple[Command, ...]:
        return tuple(command for line in self.lines for command in line.commands)

    @property
    def doubt(self) -> str:
        """Why it is not surely understood; empty: it is."""
        return next((line.doubt for line in self.lines if line.doubt), "")


class Decision(NamedTuple):
    """``rule``: what decided, as ``deny[2]`` or ``class.ai.default``; ``why`` in words. ``programs``: what it runs."""

    effect: Effect
    rule: str
    why: str
    programs: tuple[str, ...] = ()


_FREE: Final = Decision(Effect.ALLOW, "default", "nothing speaks against it")


# ---- what it is ------------------------------------------------------------------------------------------------------


def reading(asked: Asked) -> Reading:
    """Return what the act is. An interrupt key alone is a signal; it would be strange to ask about that."""
    deed = asked.deed
    verb = Verb(deed.verb)
    if verb in (Verb.SIGNAL, Verb.RESIZE):
        return Reading(verb)
    if verb is Verb.INPUT and deed.data == _INTERRUPT:
        return Reading(Verb.SIGNAL)
    written = _lines(deed.data, submitted=verb is Verb.INPUT)
    if written is None:
        return Reading(verb, Form.KEYS) if verb is Verb.INPUT else Reading(verb, Form.COMMAND, (_UNREADABLE,))
    if verb is Verb.INPUT and asked.waiting in (Wants.LINE, Wants.PASSWORD) and asked.program not in SHELLS:
        return Reading(verb, Form.LINE)
    if verb is Verb.INPUT and asked.waiting in (Wants.KEYPRESS, Wants.FULL_SCREEN):
        return Reading(verb, Form.KEYS)
    if verb is Verb.INPUT and not any(written) and asked.waiting != Wants.PROMPT:
        return Reading(verb, Form.KEYS)  # Enter alone, and it is not known to what
    lines = [read(line) for line in written]
    if not asked.clean:
        lines.insert(0, Line((), "something stands on the line already"))
    return Reading(verb, Form.COMMAND, tuple(lines))


_UNREADABLE: Final = Line((), "it is not plain text")


def _lines(data: bytes, *, submitted: bool) -> list[str] | None:
    """Return the lines of ``data``, without their ends, if it is whole lines of plain text and nothing else."""
    for mark in _PASTE:
        if data.count(mark) > 1:
            return None
    if data.startswith(_PASTE[0]) and _PASTE[1] in data:
        inside, _, after = data[len(_PASTE[0]) :].partition(_PASTE[1])
        data = inside + after
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return None
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if submitted and not text.endswith("\n"):
        return None
    lines = text.removesuffix("\n").split("\n")
    if len(lines) > LINES_MAX or any(invisible(char) for line in lines for char in line):
        return None
    return lines


# ---- what is decided -------------------------------------------------------------------------------------------------


def decide(
    asked: Asked, policy: Policy, *, grants: Iterable[Grant] = (), used: Set[str] = frozenset(), broken: str = ""
) -> Decision:
    """Return what becomes of the act. ``used``: programs its operator has used in this session before. ``broken``: why the
    policy in force cannot be read; people go on then, and whoever is none is asked about.

    A rule that denies wins over one that asks, that over one that allows, that over how the class is treated; of several
    commands in one act the strictest counts. A grant answers what would be asked, never what is denied.
    """
    subject = asked.subject
    if broken:
        if subject.kind is not Kind.HUMAN or asked.only_proposes:
            return _held(asked, Decision(Effect.ASK, "policy.toml", f"the policy cannot be read: {broken}"))
        return _FREE
    if policy.silent(subject) and not asked.only_proposes:
        return _FREE
    act = reading(asked)
    found = _commanded(asked, act, policy, grants, used) if act.form is Form.COMMAND else _plain(asked, act, policy)
    found = _conflicting(asked, policy, found)
    if found.effect is Effect.ASK and any(_same(grant, asked.deed) for grant in grants):
        found = found._replace(effect=Effect.ALLOW, rule="grant", why="a person approved just this for the session")
    if asked.only_proposes and found.effect is not Effect.DENY:
        found = found._replace(effect=Effect.ASK, rule="propose", why="it may only propose")
    return _held(asked, found)


def stricter(one: Decision, other: Decision) -> Decision:
    """Return the stricter of two; the first if they are equal."""
    return other if other.effect.rank > one.effect.rank else one


def _held(asked: Asked, found: Decision) -> Decision:
    """What is typed where nothing is shown must not lie in a list for others to read."""
    if found.effect is Effect.ASK and asked.waiting == Wants.PASSWORD and asked.deed.verb == Verb.INPUT:
        return found._replace(effect=Effect.DENY, why=f"{found.why}; and a password is not held for approval")
    return found


def _same(grant: Grant, deed: Deed) -> bool:
    """Tell whether ``deed`` is what a grant for the session is about: the same, or the same lines as a shell reads them."""
    if grant.widen is not Widen.SESSION:
        return False
    if grant.deed == deed:
        return True
    both = [_lines(each.data, submitted=each.verb == Verb.INPUT) for each in (grant.deed, deed) if each.data]
    return len(both) == 2 and both[0] is not None and both[0] == both[1]


def _rules(asked: Asked, act: Reading, policy: Policy) -> list[Rule]:
    return [rule for rule in policy.rules_about(asked.subject) if rule.about(act.verb, act.form, asked.session)]


def _said(rule: Rule, effect: Effect, more: str = "") -> Decision:
    return Decision(effect, rule.place, (rule.why or f"a rule says {rule.effect.value}") + more)


def _plain(asked: Asked, act: Reading, policy: Policy) -> Decision:
    """An act without words to compare: the first rule about it, in the order deny, ask, allow; else its treatment."""
    for rule in _rules(asked, act, policy):
        if not rule.patterns:
            return _said(rule, rule.effect)
    name = act.form.value if act.form is not None else act.verb.value
    return _treated(asked, policy, name, f"{_WHAT[name]} of {asked.subject.kind.value} operators")


_WHAT: Final = {"keys": "keys", "line": "lines", "signal": "signals", "resize": "sizes"}


def _treated(asked: Asked, policy: Policy, name: str, about: str) -> Decision:
    subject = asked.subject
    effect = getattr(policy.treatment(subject), name)
    whose = "operator" if subject.operator in policy.operators else "class"
    place = f"{whose}.{subject.operator if whose == 'operator' else subject.kind.value}.{name}"
    return Decision(effect, place, f"{about}: {effect.value}")


def _commanded(asked: Asked, act: Reading, policy: Policy, grants: Iterable[Grant], used: Set[str]) -> Decision:
    rules = _rules(asked, act, policy)
    commands = act.commands
    programs = tuple(dict.fromkeys(each.program for command in commands for each in command.everything()))
    prefixes = [grant for grant in grants if grant.widen is Widen.PREFIX]
    found: Decision | None = None
    for command in commands:
        one = _one(asked, command, rules, policy, used)
        if one.effect is Effect.ASK and any(_begins(command, grant.words) for grant in prefixes):
            one = one._replace(effect=Effect.ALLOW, rule="grant", why="a person approved what begins so")
        found = one if found is None else stricter(found, one)
    if act.doubt:
        doubtful = _doubtful(asked, act.doubt, rules, policy)
        found = doubtful if found is None else stricter(found, doubtful)
    if found is None or any(not (line.commands or line.doubt) for line in act.lines):
        empty = _empty(asked, rules, policy)
        found = empty if found is None else stricter(found, empty)
    return found._replace(programs=programs)


def _empty(asked: Asked, rules: list[Rule], policy: Policy) -> Decision:
    """Decide about a line that runs nothing: what it submits may be an answer to what the line before it began."""
    empty = next((_said(rule, rule.effect) for rule in rules if not rule.patterns), None)
    empty = empty or _treated(asked, policy, "default", "an empty line")
    return empty if empty.effect is Effect.DENY else _FREE  # to ask about it would be strange


def _one(asked: Asked, command: Command, rules: list[Rule], policy: Policy, used: Set[str]) -> Decision:
    """Decide about one command. Rules stand in the order deny, ask, allow."""
    perhaps: Decision | None = None
    for rule in rules:
        match = rule.match(command)
        if match is Match.YES:
            said = _said(rule, rule.effect)
            return stricter(said, perhaps) if perhaps is not None else said
        if match is Match.MAYBE and rule.effect is not Effect.ALLOW and perhaps is None:
            perhaps = _said(rule, Effect.ASK, " (it depends on what the shell makes of it)")
    found = _treated(
        asked, policy, "default", f"commands of {asked.subject.kind.value} operators that no rule is about"
    )
    if any(each.program not in used for each in command.everything()):
        first = _treated(asked, policy, "first_use", f"{command.program} for the first time here")
        found = stricter(found, first)
    return stricter(found, perhaps) if perhaps is not None else found


def _doubtful(asked: Asked, doubt: str, rules: list[Rule], policy: Policy) -> Decision:
    """Decide about a line that could be anything: whatever would stop some command asks about this one."""
    stops = [rule for rule in rules if rule.patterns and rule.effect is not Effect.ALLOW]
    perhaps = [_said(rule, Effect.ASK, f" (and this is not surely understood: {doubt})") for rule in stops[:1]]
    if (whole := next((rule for rule in rules if not rule.patterns), None)) is not None:
        said = _said(whole, whole.effect)
        return stricter(said, perhaps[0]) if perhaps else said
    about = f"commands of {asked.subject.kind.value} operators that are not surely understood ({doubt})"
    found = _treated(asked, policy, "default", about)
    found = stricter(found, _treated(asked, policy, "first_use", f"a first use cannot be excluded ({doubt})"))
    return stricter(perhaps[0], found) if perhaps else found


def _begins(command: Command, words: tuple[str, ...]) -> bool:
    head = command.words[: len(words)]
    return (
        not command.files
        and not command.assigns
        and len(head) == len(words) > 0
        and all(word.sure and word.text == wanted for word, wanted in zip(head, words, strict=True))
    )


def _conflicting(asked: Asked, policy: Policy, found: Decision) -> Decision:
    conflict = policy.conflict
    if not asked.conflict or conflict.effect is OnConflict.SERIALISE or asked.deed.verb not in (Verb.INPUT, Verb.RUN):
        return found
    if not asked.subject.is_one_of(texts(conflict.who)):
        return found
    why = f"{asked.conflict} submitted something less than {conflict.window_s:g} s ago"
    return stricter(found, Decision(Effect(conflict.effect.value), "conflict", why))


def submits(data: bytes) -> bool:
    """Tell whether ``data`` hands a line over: what two operators can conflict about (R66)."""
    return b"\r" in data or b"\n" in data


def prefix_of(deed: Deed, words: tuple[str, ...]) -> str:
    """Return why an approval of ``deed`` cannot reach to all commands that begin with ``words``; empty: it can."""
    lines = _lines(deed.data, submitted=False) if deed.verb in (Verb.INPUT, Verb.RUN) else None
    if lines is None or len(lines) != 1:
        return "it is not one command line"
    line = read(lines[0])
    if line.doubt:
        return f"it is not surely understood: {line.doubt}"
    if not words or not any(_begins(command, words) for command in line.commands):
        return "none of its commands begins with these words"
    return ""


class Written(NamedTuple):
    """What stands on the line a person or program types on, as far as that can be told without asking the shell."""

    clean: bool = True

    def then(self, data: bytes) -> "Written":
        """Return it after ``data`` was typed. Enter and ^C leave an empty line."""
        return self if not data else Written(data[-1:] in (b"\r", b"\n", _INTERRUPT))
