"""What the gate decides: tables of acts and rules, and properties that hold for every policy."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.core.gate import Asked, Decision, decide, prefix_of, reading, submits
from holdfast.core.identity import Kind
from holdfast.core.policy import Effect, Form, Policy, Subject, Verb, parse
from holdfast.core.proposals import Deed, Grant, Widen

ALLOW, ASK, DENY = Effect.ALLOW, Effect.ASK, Effect.DENY
AI = Subject("o-" + "a" * 26, Kind.AI, "o-" + "b" * 26)
HUMAN = Subject("o-" + "b" * 26, Kind.HUMAN)


def asked(
    data: bytes | str, subject: Subject = AI, *, verb: str = "input", waiting: str = "prompt", **more: object
) -> Asked:
    raw = data.encode() if isinstance(data, str) else data
    return Asked(subject, "build", Deed(verb, raw), waiting, **more)  # type: ignore[arg-type]


def typed(line: str, **more: object) -> Asked:
    return asked(line + "\r", **more)  # type: ignore[arg-type]


POLICY = parse("""
[class.ai]
default = "ask"
keys = "ask"
[[deny]]
program = ["rm", "dd"]
[[ask]]
command = "git push ..."
[[allow]]
command = ["make", "make test", "ls ...", "git ..."]
[[deny]]
who = "guest"
""")


@pytest.mark.parametrize(
    ("line", "effect", "rule"),
    [
        ("make test", ALLOW, "allow[0]"),
        ("make test > out", ASK, "class.ai.default"),
        ("make install", ASK, "class.ai.default"),
        ("rm x", DENY, "deny[0]"),
        ("/bin/rm x", DENY, "deny[0]"),
        ("sudo rm x", DENY, "deny[0]"),
        ("sh -c 'make; rm x'", DENY, "deny[0]"),
        ("make && rm x", DENY, "deny[0]"),
        ("make | ls", ALLOW, "allow[0]"),
        ("git push origin", ASK, "ask[0]"),
        ("git status", ALLOW, "allow[0]"),
        ("git status; git push", ASK, "ask[0]"),
        ("git $x", ASK, "ask[0]"),
        ("ls $(rm x)", ASK, "deny[0]"),
        ("eval rm x", ASK, "deny[0]"),
        ("sudo make", ASK, "class.ai.default"),
        ("PATH=/tmp make", ASK, "class.ai.default"),
        ("", ALLOW, "default"),
    ],
)
def test_commands_of_an_ai(line: str, effect: Effect, rule: str) -> None:
    for verb, waiting in (("input", "prompt"), ("input", "running"), ("input", ""), ("run", "")):
        if not line and waiting != "prompt":
            continue
        found = decide(typed(line, verb=verb, waiting=waiting), POLICY)
        assert (found.effect, found.rule) == (effect, rule), (found, verb, waiting)


def test_people_are_not_meant_by_rules_that_name_nobody() -> None:
    assert decide(typed("rm x", subject=HUMAN), POLICY).effect is ALLOW


@pytest.mark.parametrize(
    ("data", "waiting", "form", "effect"),
    [
        (b"make", "prompt", Form.KEYS, ASK),  # part of a line
        (b"make\x1b[A\r", "prompt", Form.KEYS, ASK),
        (b"ma\tke\r", "prompt", Form.KEYS, ASK),
        (b":q!\r", "full-screen", Form.KEYS, ASK),
        (b"y\r", "line", Form.LINE, ASK),
        (b"y\r", "keypress", Form.KEYS, ASK),
        (b"\xff\r", "prompt", Form.KEYS, ASK),
        (b"\r", "", Form.KEYS, ASK),
        (b"make\r", "prompt", Form.COMMAND, ALLOW),
        (b"make\nls\n", "prompt", Form.COMMAND, ALLOW),
        (b"make\r\nrm x\r", "prompt", Form.COMMAND, DENY),
        (b"\x1b[200~make\x1b[201~\r", "prompt", Form.COMMAND, ALLOW),
        (b"\x1b[200~make\x1b[201~; rm x\r", "prompt", Form.COMMAND, DENY),
        (b"\x1b[200~make\x1b[201~\x1b[201~\r", "prompt", Form.KEYS, ASK),
    ],
)
def test_what_an_input_is(data: bytes, waiting: str, form: Form, effect: Effect) -> None:
    ask = asked(data, waiting=waiting)
    assert reading(ask).form is form
    assert decide(ask, POLICY).effect is effect


def test_a_shell_that_reads_plain_lines_gets_commands() -> None:
    assert reading(asked("rm x\r", waiting="line", program="dash")).form is Form.COMMAND
    assert decide(asked("rm x\r", waiting="line", program="dash"), POLICY).effect is DENY


def test_what_stands_on_the_line_already_makes_it_doubtful() -> None:
    assert decide(typed("make"), POLICY).effect is ALLOW
    assert decide(typed("make", clean=False), POLICY).effect is ASK


def test_an_interrupt_key_is_a_signal() -> None:
    assert reading(asked(b"\x03")).verb is Verb.SIGNAL
    assert decide(asked(b"\x03"), POLICY).effect is ALLOW
    assert decide(asked(b"\x03"), parse("[[deny]]\nverbs='signal'\n")).effect is DENY


def test_a_password_is_denied_rather_than_held() -> None:
    assert decide(asked("secret\r", waiting="password"), POLICY).effect is DENY
    assert decide(asked("secret\r", waiting="password"), Policy()).effect is ALLOW


def test_a_broken_policy_lets_people_go_on_and_asks_about_the_rest() -> None:
    """Promise G4."""
    assert decide(typed("make", subject=HUMAN), Policy(), broken="line 3").effect is ALLOW
    for kind in (Kind.AI, Kind.DEVICE, Kind.SERVICE, Kind.GUEST):
        assert decide(typed("make", subject=Subject("x", kind)), Policy(), broken="line 3").effect is ASK


def test_who_may_only_propose_is_always_held_and_never_more() -> None:
    for policy in (Policy(), POLICY):
        assert decide(typed("make", only_proposes=True), policy).rule == "propose"
        assert decide(typed("make", subject=HUMAN, only_proposes=True), policy).effect is ASK
    assert decide(typed("rm x", only_proposes=True), POLICY).effect is DENY
    grant = Grant(1, AI.operator, Widen.SESSION, Deed("input", b"make\r"), (), 9e9, "o")
    assert decide(typed("make", only_proposes=True), POLICY, grants=[grant]).effect is ASK


def test_a_first_use_is_asked_about_once() -> None:
    policy = parse("[class.ai]\nfirst_use = 'ask'\n[[allow]]\nwho='ai'\ncommand='ls'\n")
    assert decide(typed("make; cc"), policy).effect is ASK
    assert decide(typed("make; cc"), policy, used={"make"}).effect is ASK
    found = decide(typed("make; sudo cc"), policy, used={"make", "cc", "sudo"})
    assert (found.effect, found.programs) == (ALLOW, ("make", "sudo", "cc"))
    assert decide(typed("ls"), policy).effect is ALLOW
    assert decide(typed("eval x"), policy, used={"eval"}).effect is ASK


def test_a_grant_answers_what_would_be_asked_and_never_what_is_denied() -> None:
    """Promise G5."""
    same = Grant(1, AI.operator, Widen.SESSION, Deed("input", b"git push\r"), (), 9e9, "o")
    begins = Grant(2, AI.operator, Widen.PREFIX, Deed("input", b"cc a\r"), ("cc", "-O2"), 9e9, "o")
    grants = [same, begins]
    assert decide(typed("git push"), POLICY, grants=grants).rule == "grant"
    assert decide(typed("git push x"), POLICY, grants=grants).effect is ASK
    assert decide(typed("cc -O2 a.c $x"), POLICY, grants=grants).effect is ALLOW
    assert decide(typed("cc -O2 a.c; make"), POLICY, grants=grants).effect is ALLOW
    for line in ("cc -O3", "cc", "cc -O2 a > b", "A=1 cc -O2", "sudo cc -O2", "cc -O2; cc", "cc -O2 $(x)"):
        assert decide(typed(line), POLICY, grants=grants).effect is ASK, line
    assert decide(typed("cc -O2; rm x"), POLICY, grants=grants).effect is DENY
    denied = Grant(3, AI.operator, Widen.SESSION, Deed("input", b"rm x\r"), (), 9e9, "o")
    assert decide(typed("rm x"), POLICY, grants=[denied]).effect is DENY


def test_conflicts_are_serialised_unless_the_policy_says_otherwise() -> None:
    """R66: both are done in one order; whether to ask or refuse is policy."""
    assert decide(typed("make", conflict="bob"), Policy()).effect is ALLOW
    for effect in (ASK, DENY):
        policy = parse(f"[conflict]\neffect='{effect.value}'\n")
        assert decide(typed("make", conflict="bob"), policy).effect is effect
        assert decide(typed("make"), policy).effect is ALLOW
        assert decide(typed("make", subject=HUMAN, conflict="bob"), policy).effect is ALLOW


@pytest.mark.parametrize(
    ("data", "words", "well"),
    [("make test\r", "make", True), ("make test\r", "make test", True), ("make test\r", "make t", False),
     ("make; ls -l\r", "ls", True), ("make\rls\r", "make", False), ("make $(x)\r", "make", False), ("make > x\r", "make", False),
     ("sudo make\r", "make", False), ("\x1b", "x", False), ("make\r", "", False)],
)  # fmt: skip
def test_what_an_approval_may_reach_to(data: str, words: str, well: bool) -> None:
    assert (prefix_of(Deed("input", data.encode()), tuple(words.split())) == "") is well


def test_what_submits() -> None:
    assert [submits(each) for each in (b"a", b"a\r", b"\n", b"\x03")] == [False, True, True, False]


# ---- for every policy ------------------------------------------------------------------------------------------------

_EFFECT = st.sampled_from(["allow", "ask", "deny"])
_COMMAND = st.sampled_from(["make", "make ...", "rm ...", "git push ...", "ls *", "sh ..."])
_RULE = st.tuples(_EFFECT, st.one_of(st.none(), _COMMAND))
_LINE = st.sampled_from(
    [
        "make",
        "make x",
        "rm -r x",
        "git push",
        "ls $x",
        "sudo rm x",
        "make; rm x",
        "sh -c 'rm x'",
        "x `y`",
        "ls a > b",
        "",
        "vim",
    ]
)


def policy_of(rules: list[tuple[str, str | None]], default: str, conflict: str) -> Policy:
    text = f"[class.ai]\ndefault = '{default}'\n[conflict]\neffect = '{conflict}'\n"
    for effect, command in rules:
        if effect == "allow" and default == "allow":
            continue  # refused: it would mean nothing
        text += f"[[{effect}]]\nwho = 'ai'\n" + (f"command = '{command}'\n" if command else "")
    return parse(text)


def test_an_empty_line_behind_a_command_is_no_looser_than_one_alone() -> None:
    """Its Enter may be the answer to what the command asks."""
    policy = policy_of([("allow", "make")], "deny", "serialise")
    assert [decide(asked(data), policy).effect for data in ("make\r", "make\r\n", "\r", "make\r\r", "\rmake\r")] == [
        ALLOW, ALLOW, DENY, DENY, DENY,
    ]  # fmt: skip
    asks = policy_of([("allow", "make")], "ask", "serialise")
    assert decide(asked("make\r\r"), asks).effect is ALLOW


@given(
    st.lists(_RULE, max_size=4), _EFFECT, st.sampled_from(["serialise", "ask", "deny"]), st.lists(_LINE, min_size=1, max_size=3),
    st.sampled_from(["", "prompt", "line", "full-screen", "password"]), st.booleans(),
)  # fmt: skip
@settings(max_examples=400)
def test_what_holds_for_every_policy(
    rules: list[tuple[str, str | None]], default: str, conflict: str, lines: list[str], waiting: str, clean: bool
) -> None:
    policy = policy_of(rules, default, conflict)
    data = "".join(f"{line}\r" for line in lines)
    ask = asked(data, waiting=waiting, clean=clean)
    found = decide(ask, policy)
    grants = [Grant(1, AI.operator, Widen.SESSION, ask.deed, (), 9e9, "o")]
    # A grant loosens only what is asked, and the same act in doubt is never looser.
    with_grant = decide(ask, policy, grants=grants).effect
    assert with_grant is (ALLOW if found.effect is ASK else found.effect) or waiting == "password"
    assert decide(ask._replace(clean=False), policy).effect.rank >= found.effect.rank
    assert decide(ask._replace(conflict="bob"), policy).effect.rank >= found.effect.rank
    assert decide(ask._replace(only_proposes=True), policy).effect is not ALLOW
    # More commands are never looser, and one more rule that stops never is either.
    if waiting in ("", "prompt"):
        one = max(decide(asked(f"{line}\r", waiting="prompt"), policy).effect.rank for line in lines)
        assert found.effect.rank >= one
    stricter = policy_of([*rules, ("deny", "vim")], default, conflict)
    assert decide(ask, stricter).effect.rank >= found.effect.rank or _reads(found)


def _reads(found: Decision) -> bool:
    return found.rule.endswith((".keys", ".line"))  # treated otherwise once rules look at commands, and never looser
