"""The policy file: what it may say, what is refused and on which line, what patterns mean."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.core.identity import Kind
from holdfast.core.policy import BadPolicy, Effect, Match, Pattern, Policy, Settled, Subject, parse
from holdfast.core.shellwords import read

AI = Subject("o-" + "a" * 26, Kind.AI, "o-" + "b" * 26)
HUMAN = Subject("o-" + "b" * 26, Kind.HUMAN)

WHOLE = """
version = 1

[class.ai]
default = "ask"
keys = "deny"
first_use = "ask"

[operator.o-aaaaaaaaaaaaaaaaaaaaaaaaaa]
signal = "deny"

[[deny]]
program = ["rm", "dd"]
why = "nothing is removed here"

[[ask]]
who = ["ai", "human"]
command = "git push ..."
sessions = "prod-*"

[[allow]]
command = ["make", "make test", "ls ..."]
verbs = ["input", "run"]

[proposals]
expire_s = 60
pending_max = 2

[conflict]
window_s = 5
effect = "ask"

[exec]
command = ["/usr/bin/true"]
timeout_s = 0.5
"""


def test_a_whole_policy_is_read() -> None:
    policy = parse(WHOLE)
    assert [(rule.place, rule.effect) for rule in policy.rules] == [
        ("deny[0]", Effect.DENY), ("ask[0]", Effect.ASK), ("allow[0]", Effect.ALLOW)
    ]  # fmt: skip
    assert policy.rules[0].who == ("ai", "device", "service", "guest")
    assert policy.treatment(AI) == Settled(
        default=Effect.ASK, keys=Effect.DENY, line=Effect.DENY, signal=Effect.DENY, first_use=Effect.ASK
    )
    assert (policy.proposals.expire_s, policy.conflict.window_s) == (60, 5)
    assert policy.program is not None and policy.program.timeout_s == 0.5


@pytest.mark.parametrize(
    ("text", "line", "key"),
    [
        ("[[deny]]\nprogramm = 'rm'\n", 2, "deny[0].programm"),
        ("[[deny]]\nprogram = 'rm'\n\n[[deny]]\nwhy = 3\n", 5, "deny[1].why"),
        ("\n[class.ai]\ndefault = 'maybe'\n", 3, "class.ai.default"),
        ("[class.human]\n[class.ai]\nlines = 'ask'\n", 3, "class.ai.lines"),
        ("[class.robot]\ndefault = 'ask'\n", 1, "class.robot"),
        ("[operator.ai]\ndefault = 'ask'\n", 1, "operator.ai"),
        ("[[deny]]\ncommand = \"'open\"\n", 2, "deny[0].command"),
        ("[[deny]]\ncommand = 'A=b'\n", 2, "deny[0].command"),
        ("[[deny]]\nwho = 'robots'\nprogram = 'x'\n", 2, "deny[0].who"),
        ("[[deny]]\nwho = []\n", 2, "deny[0].who"),
        ("[[deny]]\nprogram = 'x'\nverbs = 'resize'\n", 3, "deny[0].verbs"),
        ("[[deny]]\nprogram = 'x'\ninput = 'keys'\n", 3, "deny[0].input"),
        ("version = 2\n", 1, "version"),
        ("a = \n", 1, ""),
        ("x = 1\nx = 2\n", 2, ""),
        ("[exec]\ncommand = ['gate']\n", 2, "exec.command"),
        ("[exec]\ncommand = []\n", 2, "exec.command"),
        ("[exec]\ntimeout_s = 1\n", 1, "exec"),
        ("[conflict]\nwindow_s = -1\n", 2, "conflict.window_s"),
        ("[[allow]]\nprogram = 'make'\n", 1, "allow[0].command"),
        ("unknown = 1\n", 1, "unknown"),
    ],
)  # fmt: skip
def test_a_mistake_is_refused_where_it_stands(text: str, line: int, key: str) -> None:
    with pytest.raises(BadPolicy) as raised:
        parse(text)
    assert (raised.value.details["line"], raised.value.details["key"]) == (line, key), raised.value
    assert not line or f"line {line}" in raised.value.message


def test_listing_what_is_allowed_needs_a_word_on_the_rest() -> None:
    """Promise G4."""
    with pytest.raises(BadPolicy, match=r"allowed everything else too"):
        parse('[[allow]]\nwho = "ai"\ncommand = "make"\n')
    parse('[class.ai]\ndefault = "deny"\n[[allow]]\nwho = "ai"\ncommand = "make"\n')


@given(st.text())
def test_reading_raises_nothing_else(text: str) -> None:
    try:
        parse(text)
    except BadPolicy:
        pass


def test_without_a_file_nothing_is_stopped() -> None:
    for kind in (Kind.HUMAN, Kind.AI, Kind.DEVICE, Kind.SERVICE, Kind.GUEST):
        assert Policy().silent(Subject("x", kind))


def test_keys_are_asked_about_as_soon_as_rules_look_at_commands() -> None:
    policy = parse("[[deny]]\nprogram = 'rm'\n")
    assert policy.treatment(AI) == Settled(keys=Effect.ASK, line=Effect.ASK)
    assert policy.silent(HUMAN) and not policy.silent(AI)
    assert parse("[class.ai]\nfirst_use='ask'\n").treatment(AI).keys is Effect.ASK
    assert parse("[class.ai]\ndefault='deny'\nkeys='allow'\n").treatment(AI) == Settled(
        Effect.DENY, Effect.ALLOW, Effect.ALLOW, Effect.DENY, Effect.DENY
    )


def test_an_operator_is_meant_by_id_class_and_principal() -> None:
    for who in ("ai", AI.operator, f"for:{AI.principal}", "*"):
        assert AI.is_one_of((who,))
    assert not AI.is_one_of(("human", HUMAN.operator, f"for:{AI.operator}"))
    assert not HUMAN.is_one_of((f"for:{HUMAN.operator}",))


# ---- patterns --------------------------------------------------------------------------------------------------------

YES, NO, MAYBE = Match.YES, Match.NO, Match.MAYBE


@pytest.mark.parametrize(
    ("pattern", "line", "wide", "narrow"),
    [
        ("make test", "make test", YES, YES),
        ("make test", "make test x", NO, NO),
        ("make ...", "make", YES, YES),
        ("make ...", "make a b", YES, YES),
        ("make *", "make", NO, NO),
        ("git push ... --force ...", "git push origin --force", YES, YES),
        ("git push ... --force ...", "git push origin", NO, NO),
        ("rm ... -*r* ...", "rm -fr /", YES, YES),
        ("rm ...", "/bin/rm x", YES, NO),
        ("/bin/rm ...", "rm x", NO, NO),
        ("/bin/rm ...", "/bin/rm x", YES, YES),
        ("rm x", "rm $y", MAYBE, MAYBE),
        ("rm ...", "rm $y", YES, YES),
        ("rm -r ...", "rm *", MAYBE, MAYBE),
        ("ls a", "ls b $c", NO, NO),
        ("ls a b", "ls $x b", MAYBE, MAYBE),
        ("make", "A=1 make", YES, NO),
        ("A=1 make", "A=1 make", YES, YES),
        ("A=1 make", "A=2 make", YES, NO),
        ("A=1 make", "A=$x make", YES, NO),
        ("make", "make > out", YES, NO),
        ("make", "make > /dev/null 2>&1", YES, YES),
        ("echo 'a b' ?", "echo 'a b' c", YES, YES),
    ],
)  # fmt: skip
def test_what_a_pattern_means(pattern: str, line: str, wide: Match, narrow: Match) -> None:
    (command,) = read(line).commands
    assert Pattern(pattern).match(command, wide=True) is wide
    assert Pattern(pattern).match(command, wide=False) is narrow


_WORD = st.sampled_from(["a", "b", "-r", "$x", "*"])


@given(st.lists(st.sampled_from(["a", "b", "-r", "*", "?", "..."]), max_size=4), st.lists(_WORD, max_size=4), st.data())
def test_maybe_means_that_it_depends_on_what_the_shell_puts_there(
    pattern: list[str], words: list[str], data: st.DataObject
) -> None:
    """Whatever the loose words become: YES stays a match, NO stays none."""
    (command,) = read(" ".join(["p", *words])).commands
    compiled = Pattern(" ".join(["p", *pattern]))
    verdict = compiled.match(command, wide=True)
    becomes = [
        word
        for each in command.words
        for word in (
            [each.text] if each.sure else data.draw(st.lists(st.sampled_from(["a", "b", "-r", "zz"]), max_size=3))
        )
    ]
    (then,) = read(" ".join(becomes)).commands
    after = compiled.match(then, wide=True)
    assert after in (YES, NO)
    assert verdict is MAYBE or after is verdict
