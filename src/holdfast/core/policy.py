"""Say in a file who may have what typed: rules and their TOML form, checked before it counts. Pure: text in, rules out.

Not here: what a rule does to an act (gate), how a command line is read (shellwords), where the file lies (host.gate).
Source: docs/gate.md, "The policy file"; R66, R67.
"""

import enum
import re
import tomllib
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Final, NamedTuple

import msgspec

from holdfast.core.errors import HoldError
from holdfast.core.identity import Kind
from holdfast.core.shellwords import Command, Word

TEXT_BYTES_MAX: Final = 256 << 10  # of a policy file
RULES_MAX: Final = 1000


class BadPolicy(HoldError):
    """A policy that cannot be used. ``details``: ``line`` (0: of the whole file) and ``key``."""

    code = "bad-policy"

    def __init__(self, why: str, *, line: int = 0, key: str = "") -> None:
        at = f"line {line}: " if line else ""
        super().__init__(
            f"the policy cannot be used: {at}{key + ': ' if key else ''}{why}",
            do="mend it; `hold policy check FILE` tells whether it is well, docs/gate.md lists what may stand in it",
            line=line,
            key=key,
            why=why,
        )


class Effect(enum.StrEnum):
    """What becomes of an act. Of several the last in this order counts."""

    ALLOW = "allow"
    ASK = "ask"  # held until a person has seen and approved it
    DENY = "deny"

    @property
    def rank(self) -> int:
        return _RANKS[self]


_RANKS: Final[Mapping[Effect, int]] = {effect: rank for rank, effect in enumerate(Effect)}


class Verb(enum.StrEnum):
    """What reaches a terminal."""

    INPUT = "input"
    RUN = "run"
    SIGNAL = "signal"
    RESIZE = "resize"


class Form(enum.StrEnum):
    """What an input is."""

    COMMAND = "command"  # whole lines, where a shell will read them
    LINE = "line"  # whole lines of plain text, to a program that asked for one
    KEYS = "keys"  # anything else: keys to a full-screen program, control characters, part of a line


CLASSES: Final = tuple(kind.value for kind in (Kind.HUMAN, Kind.AI, Kind.DEVICE, Kind.SERVICE, Kind.GUEST))
OTHERS: Final = tuple(each for each in CLASSES if each != Kind.HUMAN)
"""Everybody but people: whom a rule without ``who`` is about."""


# ---- the file as it is written ---------------------------------------------------------------------------------------

_Texts = str | tuple[str, ...]


class _Written(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    pass


class Treatment(_Written, frozen=True):
    """How a class of operators, or one operator, is treated where no rule speaks. None: see ``Policy.treatment``."""

    default: Effect | None = None  # commands that no rule is about
    keys: Effect | None = None
    line: Effect | None = None
    signal: Effect | None = None
    resize: Effect | None = None
    first_use: Effect | None = None  # the first time an operator uses a program in a session


class _Rule(_Written, frozen=True):
    who: _Texts = OTHERS
    verbs: Verb | tuple[Verb, ...] = ()
    input: Form | tuple[Form, ...] = ()
    command: _Texts = ()
    program: _Texts = ()
    sessions: _Texts = ()
    why: str = ""


class Proposing(_Written, frozen=True):
    """Bounds of what may wait for a decision."""

    expire_s: Annotated[float, msgspec.Meta(ge=1, le=86400)] = 900.0
    pending_max: Annotated[int, msgspec.Meta(ge=1, le=64)] = 16  # of one operator in one session
    per_minute: Annotated[int, msgspec.Meta(ge=1, le=600)] = 30  # of one operator in one session
    grant_s_max: Annotated[float, msgspec.Meta(ge=1, le=7 * 86400)] = (
        86400.0  # longest life of "this session", "this prefix"
    )


class OnConflict(enum.StrEnum):
    """What is done when two operators submit in one session within the window."""

    SERIALISE = "serialise"  # both, one after the other, in the journal's order; never merged
    ASK = "ask"
    DENY = "deny"


class Conflict(_Written, frozen=True):
    """What two operators at once are (R66). ``who``: whose unit is stopped, if it is."""

    window_s: Annotated[float, msgspec.Meta(ge=0, le=3600)] = 2.0  # 0: nothing is a conflict
    effect: OnConflict = OnConflict.SERIALISE
    who: _Texts = OTHERS


class Program(_Written, frozen=True):
    """An external program that is asked about each act (R67). It can only make an answer stricter."""

    command: tuple[str, ...]
    timeout_s: Annotated[float, msgspec.Meta(ge=0.05, le=30)] = 2.0
    who: _Texts = OTHERS
    verbs: Verb | tuple[Verb, ...] = (Verb.INPUT, Verb.RUN, Verb.SIGNAL)


class _File(_Written, frozen=True, rename={"classes": "class"}):
    version: Annotated[int, msgspec.Meta(ge=1, le=1)] = 1
    classes: dict[str, Treatment] = {}
    operator: dict[str, Treatment] = {}
    deny: tuple[_Rule, ...] = ()
    ask: tuple[_Rule, ...] = ()
    allow: tuple[_Rule, ...] = ()
    proposals: Proposing = Proposing()
    conflict: Conflict = Conflict()
    exec: Program | None = None


# ---- patterns over words ---------------------------------------------------------------------------------------------


class Match(enum.Enum):
    """Whether a command is one of those a pattern means."""

    NO = enum.auto()
    MAYBE = enum.auto()  # it depends on what the shell puts in the place of a word
    YES = enum.auto()


class Pattern:
    """Words to compare a command's words with: ``git push ...``. In a word ``*`` is any text and ``?`` any character;
    ``...`` is any words, also none. A program without a folder means it wherever it lies if ``wide``, else only as it is
    written. ``NAME=VALUE`` at the beginning must be set, and nothing else may be, unless ``wide``.
    """

    def __init__(self, text: str) -> None:
        words = _pattern_words(text)
        self.text = text
        self.assigns = []
        while words and re.match(r"[A-Za-z_][A-Za-z0-9_]*=", words[0]):
            self.assigns.append(words.pop(0))
        if not words:
            raise ValueError("a pattern needs the name of a program")
        self._words = [None if word == "..." else _glob(word) for word in words]
        self._folder = "/" in words[0]

    def match(self, command: Command, *, wide: bool) -> Match:
        """Compare. ``wide`` is for rules that stop something, narrow for those that let it pass."""
        words = command.words
        program = command.program if wide and not self._folder else words[0].text
        if (first := self._words[0]) is not None and not first.fullmatch(program):
            return Match.NO  # most rules are about other programs, and what runs is always sure
        if wide and not self._folder:
            words = (Word(command.program, words[0].sure), *words[1:])
        if not wide and (command.files or [each.text for each in command.assigns if each.sure] != self.assigns):
            return Match.NO
        if not wide and len(command.assigns) != len(self.assigns):
            return Match.NO
        if not _fits(self._words, words, loose=True):
            return Match.NO
        return Match.YES if _fits(self._words, words, loose=False) else Match.MAYBE

    def __repr__(self) -> str:
        return f"Pattern({self.text!r})"


_Glob = re.Pattern[str] | None


def _fits(pattern: list[_Glob], words: tuple[Word, ...], *, loose: bool) -> bool:
    """Tell whether the words can (``loose``) or must match. A word that is not sure stands for any words: if it must
    match, only ``...`` takes it."""
    reached = {0}  # places in the pattern after the words so far
    for word in words:
        reached = _passed(pattern, reached)
        then: set[int] = set()
        for at in reached:
            if at < len(pattern) and pattern[at] is None:
                then.add(at)
            elif at < len(pattern) and word.sure and (glob := pattern[at]) is not None and glob.fullmatch(word.text):
                then.add(at + 1)
            if not word.sure and loose:
                then |= set(range(at, len(pattern) + 1))
        reached = then
    return len(pattern) in _passed(pattern, reached)


def _passed(pattern: list[_Glob], reached: set[int]) -> set[int]:
    found = set(reached)
    for at in range(len(pattern)):
        if at in found and pattern[at] is None:
            found.add(at + 1)
    return found


def _glob(word: str) -> re.Pattern[str]:
    return re.compile("".join(".*" if c == "*" else "." if c == "?" else re.escape(c) for c in word), re.DOTALL)


def _pattern_words(text: str) -> list[str]:
    """Cut at blanks, except between quotes. Raises ValueError."""
    found: list[str] = []
    for match in re.finditer(r"""((?:[^\s'"]|'[^']*'|"[^"]*")+)|(\S)""", text):
        if match.group(2) is not None:
            raise ValueError("a quote is not closed")
        found.append(re.sub(r"""'([^']*)'|"([^"]*)\"""", lambda m: m.group(1) or m.group(2) or "", match.group()))
    return found


# ---- the policy as it is used ----------------------------------------------------------------------------------------


class Subject(NamedTuple):
    """Who acts, as a policy sees it. ``principal``: on whose behalf, empty: its own."""

    operator: str
    kind: Kind
    principal: str = ""

    def is_one_of(self, who: Iterable[str]) -> bool:
        """Tell whether ``who`` (classes, operator ids, ``for:ID``, ``*``) means this operator."""
        names = {"*", self.kind.value, self.operator} | ({f"for:{self.principal}"} if self.principal else set())
        return not names.isdisjoint(who)


class Rule(NamedTuple):
    """``place``: where it stands, as ``deny[2]``."""

    place: str
    effect: Effect
    who: tuple[str, ...]
    verbs: tuple[Verb, ...]
    forms: tuple[Form, ...]
    patterns: tuple[Pattern, ...]
    sessions: tuple[re.Pattern[str], ...]
    why: str

    def about(self, verb: Verb, form: Form | None, session: str) -> bool:
        """Tell whether the rule speaks of such an act of whom it is about, its command aside."""
        return (
            (not self.verbs or verb in self.verbs)
            and (not self.forms or form in self.forms)
            and (not self.patterns or form is Form.COMMAND)
            and (not self.sessions or any(name.fullmatch(session) for name in self.sessions))
        )

    def match(self, command: Command) -> Match:
        """Compare with one command. A rule that lets pass looks at what is written, one that stops also at all it runs."""
        if not self.patterns:
            return Match.YES
        wide = self.effect is not Effect.ALLOW
        found = [
            pattern.match(each, wide=wide)
            for each in (command.everything() if wide else (command,))
            for pattern in self.patterns
        ]
        return max(found, key=lambda match: match.value)


class Settled(NamedTuple):
    """A treatment with every gap filled."""

    default: Effect = Effect.ALLOW
    keys: Effect = Effect.ALLOW
    line: Effect = Effect.ALLOW
    signal: Effect = Effect.ALLOW
    resize: Effect = Effect.ALLOW
    first_use: Effect = Effect.ALLOW


_PROPOSING: Final = Proposing()
_CONFLICT: Final = Conflict()


class Policy:
    """Rules that were checked. ``Policy()`` is what holds without a file: everybody may what admission lets them."""

    def __init__(
        self, rules: tuple[Rule, ...] = (), classes: Mapping[str, Treatment] = {}, operators: Mapping[str, Treatment] = {},
        *, proposals: Proposing = _PROPOSING, conflict: Conflict = _CONFLICT, program: Program | None = None,
    ) -> None:  # fmt: skip
        self.rules, self.classes, self.operators = rules, dict(classes), dict(operators)
        self.proposals, self.conflict, self.program = proposals, conflict, program
        self._settled: dict[Subject, Settled] = {}
        self._silent: dict[Subject, bool] = {}
        self._about: dict[Subject, tuple[Rule, ...]] = {}

    def treatment(self, subject: Subject) -> Settled:
        """Return how ``subject`` is treated where no rule speaks.

        Of the operator's own treatment and its class's the first that says something counts. Without a ``default``:
        allow. Keys are asked about if there are rules or a default that look at commands, since what is typed piece by
        piece passes those by; lines are treated as keys are; signals and resizes are denied where the default is.
        """
        known = self._settled.get(subject)
        if known is None:
            if len(self._settled) > 1024:
                self._settled.clear()
            known = self._settled[subject] = self._settle(subject)
        return known

    def _settle(self, subject: Subject) -> Settled:
        said = [self.operators.get(subject.operator), self.classes.get(subject.kind.value)]

        def first(name: str) -> Effect | None:
            return next((value for each in said if each and (value := getattr(each, name)) is not None), None)

        default = first("default") or Effect.ALLOW
        first_use = first("first_use") or Effect.ALLOW
        strict = any(
            rule.patterns and rule.effect is not Effect.ALLOW and subject.is_one_of(rule.who) for rule in self.rules
        )
        looked = Effect.ASK if strict or first_use is not Effect.ALLOW else Effect.ALLOW
        keys = first("keys") or max(default, looked, key=lambda each: each.rank)
        other = Effect.DENY if default is Effect.DENY else Effect.ALLOW
        return Settled(
            default, keys, first("line") or keys, first("signal") or other, first("resize") or other, first_use
        )

    def rules_about(self, subject: Subject) -> tuple[Rule, ...]:
        """Return the rules that speak of ``subject``, in the order deny, ask, allow."""
        known = self._about.get(subject)
        if known is None:
            if len(self._about) > 1024:
                self._about.clear()
            known = self._about[subject] = tuple(rule for rule in self.rules if subject.is_one_of(rule.who))
        return known

    def silent(self, subject: Subject) -> bool:
        """Tell whether nothing in the policy can stop ``subject``: what most people's keystrokes ask."""
        known = self._silent.get(subject)
        if known is None:
            if len(self._silent) > 1024:
                self._silent.clear()
            asked = self.program is not None and subject.is_one_of(texts(self.program.who))
            stopped = self.conflict.effect is not OnConflict.SERIALISE and subject.is_one_of(texts(self.conflict.who))
            known = self._silent[subject] = (
                not asked and not stopped and self.treatment(subject) == Settled()
                and not any(rule.effect is not Effect.ALLOW and subject.is_one_of(rule.who) for rule in self.rules)
            )  # fmt: skip
        return known


def texts(value: _Texts) -> tuple[str, ...]:
    """One text or several, as several."""
    return (value,) if isinstance(value, str) else tuple(value)


# ---- reading it ------------------------------------------------------------------------------------------------------


def parse(text: str) -> Policy:
    """Return the policy that ``text`` (TOML) is. Raises BadPolicy, with the line where that can be told."""
    if len(text.encode("utf-8", "surrogatepass")) > TEXT_BYTES_MAX:
        raise BadPolicy(f"it is larger than {TEXT_BYTES_MAX >> 10} KiB")
    try:
        data = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        found = re.search(r"\(at line (\d+), column \d+\)", str(error))
        raise BadPolicy(str(error), line=int(found[1]) if found else text.count("\n") + 1) from None
    try:
        written = msgspec.convert(data, _File)
    except msgspec.ValidationError as error:
        raise _located(str(error), text, data) from None
    return _checked(written, text)


def _located(error: str, text: str, data: Mapping[str, Any]) -> BadPolicy:
    """Put msgspec's complaint in the reader's words, with the line it is about."""
    what, _, path = error.partition(" - at `$")
    key = path.rstrip("`").removeprefix(".")
    if (unknown := re.fullmatch(r"Object contains unknown field `(.*)`", what)) is not None:
        key = f"{key}.{unknown[1]}" if key else unknown[1]
        what = "there is no such setting"
    table, many, rest = key.partition("[...]")
    if many:  # of a table of tables msgspec does not say which
        for name, value in data.get(table, {}).items():
            try:
                msgspec.convert(value, Treatment)
            except msgspec.ValidationError:
                key = f"{table}.{name}{rest}"
                break
    return BadPolicy(what[:1].lower() + what[1:], line=_line(text, key, data), key=key)


def _line(text: str, key: str, data: Mapping[str, Any]) -> int:
    """Return the line on which ``key`` (``deny[1].command``) stands, or its table begins; 0 if that cannot be told."""
    parts = re.findall(r"([^.\[\]]+)(?:\[(\d+)\])?", key)
    if not parts:
        return 0
    lines = text.splitlines()
    table, index = parts[0][0], int(parts[0][1] or 0)
    headers = [
        number
        for number, line in enumerate(lines, 1)
        if re.match(rf"\s*\[\[?\s*[\"']?{re.escape(table)}\b", line)
        and (len(parts) < 2 or parts[1][0] == "..." or table not in ("class", "operator") or parts[1][0] in line)
    ]
    own = [
        number for number, line in enumerate(lines, 1) if re.match(rf"\s*[\"']?{re.escape(table)}[\"']?\s*[.=]", line)
    ]
    if not headers:
        return own[0] if own else 0
    start = headers[min(index, len(headers) - 1)]
    last = parts[-1][0]
    for number in range(start, len(lines)):
        if lines[number].lstrip().startswith("["):
            break
        if re.match(rf"\s*[\"']?{re.escape(last)}[\"']?\s*=", lines[number]):
            return number + 1
    return start


def _checked(written: _File, text: str) -> Policy:
    """Compile the rules and refuse what can only be a mistake."""

    def wrong(key: str, why: str) -> BadPolicy:
        return BadPolicy(why, line=_line(text, key, {}), key=key)

    rules: list[Rule] = []
    for effect in (Effect.DENY, Effect.ASK, Effect.ALLOW):
        for index, rule in enumerate(getattr(written, effect.value)):
            place = f"{effect.value}[{index}]"
            try:
                rules.append(_compiled(place, effect, rule))
            except _Wrong as error:
                raise wrong(f"{place}.{error.key}", error.why) from None
    if len(rules) > RULES_MAX:
        raise wrong("", f"it has more than {RULES_MAX} rules")
    for name in written.classes:
        if name not in CLASSES:
            raise wrong(f"class.{name}", f"there is no class {name!r}; classes are {', '.join(CLASSES)}")
    for name in written.operator:
        if name in CLASSES or not name:
            raise wrong(f"operator.{name}", "an operator is named by its id; a class stands under [class]")
    for table, who in (("conflict", written.conflict.who), ("exec", written.exec.who if written.exec else ())):
        _named(table, who, wrong)
    if written.exec is not None and (not written.exec.command or not written.exec.command[0].startswith("/")):
        raise wrong("exec.command", "name the program by its whole path, as in ['/usr/local/bin/gate']")
    policy = Policy(
        tuple(rules), written.classes, written.operator, proposals=written.proposals, conflict=written.conflict,
        program=written.exec,
    )  # fmt: skip
    _no_idle_allow(policy, wrong)
    return policy


class _Wrong(Exception):
    def __init__(self, key: str, why: str) -> None:
        self.key, self.why = key, why


def _named(key: str, who: _Texts, wrong: Any) -> None:
    for name in texts(who):
        if not re.fullmatch(r"\*|[a-z]+|(?:for:)?o-[a-z2-7]{26}|(?:local|service):[^\s]+", name) or (
            name.isalpha() and name not in CLASSES
        ):
            raise wrong(f"{key}.who", f"{name!r} is neither a class ({', '.join(CLASSES)}) nor an operator's id")


def _compiled(place: str, effect: Effect, rule: _Rule) -> Rule:
    _named("", rule.who, lambda key, why: _Wrong("who", why))
    patterns: list[Pattern] = []
    for key, words, more in (("command", texts(rule.command), ""), ("program", texts(rule.program), " ...")):
        for each in words:
            try:
                patterns.append(Pattern(each + more))
            except ValueError as error:
                raise _Wrong(key, f"{each!r} is no pattern: {error}") from None
    verbs = (rule.verbs,) if isinstance(rule.verbs, Verb) else rule.verbs
    forms = (rule.input,) if isinstance(rule.input, Form) else rule.input
    if patterns and forms and Form.COMMAND not in forms:
        raise _Wrong("input", "only commands have words to compare")
    if patterns and verbs and not {Verb.INPUT, Verb.RUN} & set(verbs):
        raise _Wrong("verbs", "only input and run have words to compare")
    if not rule.who:
        raise _Wrong("who", "it is about nobody")
    sessions = tuple(_glob(name) for name in texts(rule.sessions))
    return Rule(place, effect, texts(rule.who), verbs, forms, tuple(patterns), sessions, rule.why)


def _no_idle_allow(policy: Policy, wrong: Any) -> None:
    """Whoever lists what is allowed means that the rest is not; a default that allows everything would hide that."""
    for rule in policy.rules:
        if rule.effect is not Effect.ALLOW or not rule.patterns:
            continue
        for name in rule.who:
            if name in OTHERS or name == Kind.HUMAN:
                subject = Subject("", Kind(name))
                if policy.treatment(subject) == Settled() and policy.silent(subject):
                    raise wrong(
                        f"{rule.place}.command",
                        f'class {name} is allowed everything else too; say `[class.{name}]` `default = "ask"`, or "deny"',
                    )
