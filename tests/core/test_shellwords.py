"""Command lines are read as every shell reads them, or not at all. Held against real shells where they are installed."""

import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from holdfast.core.shellwords import COMMANDS_MAX, LINE_MAX, Command, read


def flat(line: str) -> list[list[str]]:
    """Every command of the line and all it runs, as words; a word that is not sure in angle brackets."""
    found = read(line)
    assert not found.doubt, found.doubt
    return [
        [word.text if word.sure else f"<{word.text}>" for word in each.words]
        for command in found.commands
        for each in command.everything()
    ]


@pytest.mark.parametrize(
    ("line", "commands"),
    [
        ("", []),
        ("make test", [["make", "test"]]),
        ("  make   test  ", [["make", "test"]]),
        ("cd x && make | tee log; ls &", [["cd", "x"], ["make"], ["tee", "log"], ["ls"]]),
        ("a||b", [["a"], ["b"]]),
        ("r''m '-r' \"f\"", [["rm", "-r", "f"]]),
        ("echo a\\ b \\; \\'", [["echo", "a b", ";", "'"]]),
        ('echo "a b;c" \'$x && y\'', [["echo", "a b;c", "$x && y"]]),
        ("echo $x \"$x\" *.c ~ a{b,c} HEAD~1 x=y", [
            ["echo", "<$x>", "<$x>", "<*.c>", "<~>", "<a{b,c}>", "<HEAD~1>", "x=y"]]),
        ("[ -f x ] && y", [["[", "-f", "x", "]"], ["y"]]),
        ("! make", [["!", "make"], ["make"]]),
        ("FOO=1 BAR='a b' make", [["make"]]),
        ("make 2>&1 >/dev/null", [["make"]]),
        ("sudo -u bob rm x", [["sudo", "-u", "bob", "rm", "x"], ["rm", "x"]]),
        ("env -i A=b nohup make", [["env", "-i", "A=b", "nohup", "make"], ["nohup", "make"], ["make"]]),
        ("timeout -k 5 10 make", [["timeout", "-k", "5", "10", "make"], ["make"]]),
        ("stdbuf -oL make", [["stdbuf", "-oL", "make"], ["make"]]),
        ("sh -c 'a; b c'", [["sh", "-c", "a; b c"], ["a"], ["b", "c"]]),
        ("/bin/bash -lc 'sudo a'", [["/bin/bash", "-lc", "sudo a"], ["sudo", "a"], ["a"]]),
        ("sh build.sh -c x", [["sh", "build.sh", "-c", "x"]]),
        ("env", [["env"]]),
        ("find . -name '*.c'", [["find", ".", "-name", "*.c"]]),
        ("command -v make", [["command", "-v", "make"]]),
    ],
)  # fmt: skip
def test_what_is_understood(line: str, commands: list[list[str]]) -> None:
    assert flat(line) == commands


@pytest.mark.parametrize(
    "line",
    [
        "echo $(rm x)", "echo `rm x`", 'echo "$(rm x)"', 'echo "`rm x`"', "echo ${x:-y}", "echo $((1))", "echo $'a'",
        "cat << EOF", "cat <<< x", "diff <(a) >(b)", "(a)", "a; )", "{ a; }", "if a; then b; fi", "for x in y; do z; done",
        "function f", "a |& b", "a &! b", "a ;; b", "a &&", "| a", "a && && b", "> x", "a >", "a > > b",
        "'open", '"open', "a \\", "eval a", "source a", ". a", "alias a=b", "xargs rm", "find . -exec rm x", "find . $x",
        "trap a EXIT", "$x a", "~/a", "*", "a* b", "=ls", "a=1", "a[1]=2", "a+=1", "!rm", "echo a!b", 'echo "a!b"',
        "^a^b", "a # b", "echo \\x72", "echo 'a\\b'", "a\tb", "a\nb", "a\x1bb", "a\u202eb", "a\u00a0b", "a\u200bb",
        "sudo -i", "sudo -s x", "sudo $x y", "env -S 'a b'", "timeout $x rm", "sh -c $x", "sh -c \"$x\"", "sh -s", "bash -i x",
        "sudo eval x", "sh -c 'eval x'", "sh -c 'sh -c \"sh -c \\\"sh -c x\\\"\"'", "exec > x", "exec", "not a", "and a",
        "''", "a " * (COMMANDS_MAX * 40), ";".join("a" * 1 for _ in range(COMMANDS_MAX + 1)), "x" * (LINE_MAX + 1),
        "sudo " * 6 + "x", "coproc a", "[[ a ]]", "doas -s", "busybox rm x", "su -c x", "watch rm",
    ],
)  # fmt: skip
def test_what_is_in_doubt_says_why(line: str) -> None:
    found = read(line)
    assert found.doubt
    assert found.commands == ()


def test_what_touches_a_file_is_told() -> None:
    (command,) = read("make > out 2>>err <in &>all 2>&1 3>&-").commands
    assert command.files == (">out", ">>err", "<in", "&>all")
    assert [word.text for word in command.words] == ["make"]
    (command,) = read("echo 2 > x").commands
    assert [word.text for word in command.words] == ["echo", "2"]


def test_a_quoted_word_is_no_keyword_and_no_assignment() -> None:
    assert flat("'if' x") == [["if", "x"]]
    (command,) = read("A'=b' c").commands
    assert (command.words[0].text, command.assigns) == ("A=b", ())
    (command,) = read("A='b c' d").commands
    assert ([word.text for word in command.assigns], command.words[0].text) == (["A=b c"], "d")


@given(st.text())
@settings(max_examples=300)
def test_nothing_raises(line: str) -> None:
    found = read(line)
    assert not (found.doubt and found.commands)


# ---- real shells: what we are sure of, they do ------------------------------------------------------------------------

_PIECES = st.lists(
    st.sampled_from(
        ["prog", "a", "-b", " ", " ", " ", "'", '"', "\\", "$x", "*", "?", "~", "=", ";", "&&", "|", "#", "!", "{", "}", "[",
         "]", "^", "1", "\\ ", "\\n", "'q r'", '"d e"', "''", ",", ":", "@", "%", "+", "é", "$", "(", ")", "`", "<", ">",
         "2>&1", "/dev/null", ">"]
    ), min_size=1, max_size=12,
).map("".join)  # fmt: skip
SHELLS = [shell for shell in ("bash", "dash", "zsh", "fish") if shutil.which(shell)]
# Each program "prog" says its words, separated so that nothing in them can be taken for a separator.
_DEFINE = {
    "fish": "function prog; printf '%s\\036' prog $argv >>$OUT; printf '\\035' >>$OUT; end\n",
    "": 'prog() { printf \'%s\\036\' prog "$@" >>"$OUT"; printf \'\\035\' >>"$OUT"; }\n',
}


@pytest.mark.parametrize("shell", SHELLS)
@given(line=_PIECES.map(lambda rest: "prog " + rest))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_real_shell_runs_exactly_the_words_we_read(shell: str, tmp_path: Path, line: str) -> None:
    """Where we are sure of every word of every command, and all of them are ``prog``, that shell passes just those."""
    found = read(line)
    if found.doubt or not all(_plain(command) for command in found.commands):
        return
    if " | " in f" {line} " or "|" in line or "&" in line.replace("&&", "").replace("2>&1", ""):
        return  # the same words, but in parallel
    define, out = _DEFINE.get(shell, _DEFINE[""]), tmp_path / "said"
    out.write_bytes(b"")
    done = subprocess.run(
        [shell, *_NO_FILES.get(shell, ()), "-c", define + line], capture_output=True, timeout=20,
        stdin=subprocess.DEVNULL, cwd="/", env={"PATH": "/usr/bin:/bin", "HOME": "/", "LC_ALL": "C.UTF-8", "OUT": str(out)},
    )  # fmt: skip
    said = [part.split("\x1e")[:-1] for part in out.read_text().split("\x1d")[:-1]]
    assert said == [[word.text for word in command.words] for command in found.commands], (line, done.stderr)


_NO_FILES = {"zsh": ("-f",), "bash": ("--norc",), "fish": ("--no-config",)}


def _plain(command: Command) -> bool:
    return command.program == "prog" and all(word.sure for word in command.words) and not command.files
