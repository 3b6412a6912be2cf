"""Read a command line the way every common shell would, or say that it is not surely understood. Pure.

Not here: what may be run (policy, gate). This is no shell grammar and never guesses: what bash, zsh, dash and fish do not
all read the same way (substitution, here-documents, history expansion, an escaped letter) is a *doubt*, and whoever asks
decides as if the line could be anything. Source: docs/gate.md, "How a command line is read".
"""

import re
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from holdfast.core.visible import invisible

LINE_MAX: Final = 4095  # characters; more does not fit the kernel's line editor either
COMMANDS_MAX: Final = 64
DEPTH_MAX: Final = 4  # of commands that run commands


class Word(NamedTuple):
    """``sure``: the program gets exactly ``text``. If not, the shell puts any number of other words in its place."""

    text: str
    sure: bool = True


class Command(NamedTuple):
    """One simple command. ``files``: redirections that touch a file, as ``>out``. ``within``: the commands that this one
    runs in its turn, as far as they stand in its words (``sudo``, ``sh -c``)."""

    words: tuple[Word, ...]
    assigns: tuple[Word, ...] = ()
    files: tuple[str, ...] = ()
    within: tuple["Command", ...] = ()

    @property
    def program(self) -> str:
        """What it runs, without the folder."""
        return self.words[0].text.rpartition("/")[2]

    def everything(self) -> Iterator["Command"]:
        """This command and all it runs in its turn."""
        yield self
        for inner in self.within:
            yield from inner.everything()


class Line(NamedTuple):
    """``doubt``: why the line is not surely understood; empty: ``commands`` are all that it runs, in order."""

    commands: tuple[Command, ...] = ()
    doubt: str = ""


class _Doubt(Exception):
    """The line is not surely understood; the text says why."""


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


# Words that are no program where a command begins.
_KEYWORDS: Final = _set(
    "if then elif else fi for foreach while until do done case esac select function coproc repeat begin end switch "
    "not and or noglob nocorrect - { } [[ ]]"
)
# Change what later words mean, or run what does not stand in their words.
_OPAQUE: Final = _set(
    "eval source . alias unalias abbr trap bind bindkey hash enable fc complete zle "
    "xargs parallel watch su runuser script flock systemd-run unshare nsenter chroot busybox toybox entr"
)
_SHELLS: Final = _set("sh bash dash zsh fish ksh mksh ash rbash")
_FIND_RUNS: Final = _set("-exec -execdir -ok -okdir")
_ASSIGN: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=")
_VARIABLE: Final = re.compile(r"\$(?:[A-Za-z_][A-Za-z0-9_]*|\{[A-Za-z_][A-Za-z0-9_]*\}|[0-9@*?$#-])")


class _Wrapper(NamedTuple):
    """How a program that runs another one takes its options: ``flags`` stand alone, ``valued`` take the next word or what
    is joined to them. ``before``: how many words stand before the command."""

    flags: frozenset[str] = frozenset()
    valued: frozenset[str] = frozenset()
    before: int = 0
    assigns: bool = False


def _wrapper(flags: str = "", valued: str = "", before: int = 0, assigns: bool = False) -> _Wrapper:
    return _Wrapper(_set(flags), _set(valued), before, assigns)


_WRAPPERS: Final[Mapping[str, _Wrapper]] = {
    "sudo": _wrapper("-A -b -E -H -k -n -P -S", "-u -g -p -C -r -t -T -D -R -h --user --group", assigns=True),
    "doas": _wrapper("-n", "-u -C"),
    "env": _wrapper("-i - --ignore-environment", "-u -C --unset --chdir", assigns=True),
    "nohup": _wrapper(),
    "setsid": _wrapper("-c -f -w --fork --wait"),
    "nice": _wrapper("", "-n --adjustment"),
    "ionice": _wrapper("-t", "-c -n"),
    "timeout": _wrapper("--foreground --preserve-status -v --verbose", "-k -s --kill-after --signal", before=1),
    "time": _wrapper("-p"),
    "stdbuf": _wrapper("", "-i -o -e --input --output --error"),
    "command": _wrapper("-p"),
    "builtin": _wrapper(),
    "exec": _wrapper("-c -l", "-a"),
    "!": _wrapper(),
}


def read(text: str) -> Line:
    """Return what the line ``text``, without its end, runs. Never raises: what is not surely understood is a doubt."""
    try:
        return Line(tuple(_commands(text, 0)))
    except _Doubt as doubt:
        return Line((), str(doubt))


# ---- words -----------------------------------------------------------------------------------------------------------


class _Token(NamedTuple):
    """A word, or with ``operator`` what stands between words. ``bare``: how much of it stands before the first quote."""

    word: Word
    operator: str = ""
    bare: int = 0
    joined: bool = False  # nothing stood between it and what came before

    @property
    def plain(self) -> bool:
        """Whether nothing of it is quoted."""
        return self.bare == len(self.word.text) > 0


def _tokens(text: str) -> Iterator[_Token]:
    if len(text) > LINE_MAX:
        raise _Doubt(f"it is longer than {LINE_MAX} characters")
    for char in text:
        if invisible(char):
            raise _Doubt(f"it holds the character {char!a}, which is not seen")
    if text.startswith("^"):
        raise _Doubt("it begins with ^, which some shells take for an earlier command")
    at, gap = 0, True
    while at < len(text):
        if text[at] == " ":
            at, gap = at + 1, True
        elif text[at] in ";&|<>()":
            operator = _operator(text, at)
            yield _Token(Word(""), operator, joined=not gap)
            at, gap = at + len(operator), False
        else:
            token, at = _word(text, at)
            yield token._replace(joined=not gap)
            gap = False


def _operator(text: str, at: int) -> str:
    for operator in ("&>>", "&>", "&&", "||", ">>", ">|", ">&", "<&", "<>", ";", "&", "|", "<", ">"):
        if text.startswith(operator, at):
            break
    else:
        raise _Doubt("it has parentheses")
    rest = text[at : at + len(operator) + 1]
    if rest in ("<<", ">(", "<(", "|&", ";;", ";&", "&!", "&|", "&&&", "|||"):
        raise _Doubt(f"it has {rest}")
    return operator


def _word(text: str, at: int) -> tuple[_Token, int]:
    """Return the word that begins at ``at``, and where it ends."""
    found: list[str] = []
    sure, bare, start = True, -1, at
    while at < len(text) and text[at] not in " ;&|<>()":
        char = text[at]
        if char in "'\"\\" and bare < 0:
            bare = len("".join(found))
        if char == "'":
            end = text.find("'", at + 1)
            if end < 0:
                raise _Doubt("a quote is not closed")
            if "\\" in text[at:end]:
                raise _Doubt("it has a backslash between single quotes")
            found.append(text[at + 1 : end])
            at = end + 1
        elif char == '"':
            inner, whole, at = _double(text, at + 1)
            found.append(inner)
            sure = sure and whole
        elif char == "\\":
            if at + 1 >= len(text) or text[at + 1].isalnum():
                raise _Doubt("it has a backslash that shells read differently")
            found.append(text[at + 1])
            at += 2
        elif char == "$":
            piece = _variable(text, at)
            found.append(piece)
            sure, at = False, at + len(piece)
        else:
            sure = sure and not _expands(char, at == start, text[at + 1 : at + 2])
            found.append(char)
            at += 1
    word = "".join(found)
    bare = len(word) if bare < 0 else bare
    # These alone are plain words; as a part of a word they make the shell look for files or write several words.
    alone = at - start == 1 and word in "[]"
    return _Token(Word(word, sure or alone), bare=bare), at


def _expands(char: str, first: bool, after: str) -> bool:
    """Tell whether an unquoted ``char`` has the shell put something else in the place of the word."""
    if char == "`":
        raise _Doubt("it has a command substitution")
    if char == "!" and not (first and after in ("", " ")):
        raise _Doubt("it has a ! that may mean an earlier command")
    if char == "#" and first:
        raise _Doubt("it has a # that some shells take for a comment")
    return char in "*?[]{}^~#" or (char == "=" and first)


def _double(text: str, at: int) -> tuple[str, bool, int]:
    """Return what stands between double quotes, whether that is sure, and where it ends."""
    found: list[str] = []
    sure = True
    while at < len(text) and text[at] != '"':
        char = text[at]
        if char in "`!":
            raise _Doubt(f"it has a {char} between double quotes")
        if char == "\\":
            escaped = text[at + 1 : at + 2]
            found.append(escaped if escaped and escaped in '\\"$`' else "\\" + escaped)
            if escaped == "`" or not escaped:
                raise _Doubt("it has a backslash that shells read differently")
            at += 2
        elif char == "$":
            piece = _variable(text, at)
            found.append(piece)
            sure, at = False, at + len(piece)
        else:
            found.append(char)
            at += 1
    if at >= len(text):
        raise _Doubt("a quote is not closed")
    return "".join(found), sure, at + 1


def _variable(text: str, at: int) -> str:
    found = _VARIABLE.match(text, at)
    if found is None:
        raise _Doubt("it has a substitution")
    return found.group()


# ---- commands --------------------------------------------------------------------------------------------------------


def _commands(text: str, depth: int) -> list[Command]:
    if depth > DEPTH_MAX:
        raise _Doubt("commands within commands go too deep")
    found: list[Command] = []
    pending: list[_Token] = []
    last = ""
    for token in [*_tokens(text), _Token(Word(""), ";")]:
        if token.operator not in (";", "&", "&&", "||", "|"):
            pending.append(token)
            continue
        if pending:
            found.append(_command(pending, depth))
            pending = []
        elif token.operator != ";" or last not in ("", ";", "&"):
            raise _Doubt("a command is missing between two signs")
        last = token.operator
    if len(found) > COMMANDS_MAX:
        raise _Doubt(f"it has more than {COMMANDS_MAX} commands")
    return found


def _command(tokens: list[_Token], depth: int) -> Command:
    words, files = _redirected(tokens)
    assigns: list[Word] = []
    while words and (name := _ASSIGN.match(words[0].word.text)) is not None and name.end() <= words[0].bare:
        assigns.append(words.pop(0).word)
    if not words:
        raise _Doubt("it sets variables for what comes later" if assigns else "it has a redirection without a command")
    first = words[0]
    if not first.word.sure:
        raise _Doubt("what it runs is only known once the shell has read it")
    if not first.word.text or (first.plain and first.word.text in _KEYWORDS):
        raise _Doubt(f"it has the word {first.word.text!r} where a command begins")
    if first.word.text.startswith(("~", "=")) or re.match(r"[A-Za-z_]\w*\+=", first.word.text):
        raise _Doubt("what it runs is only known once the shell has read it")
    plain = tuple(token.word for token in words)
    return Command(plain, tuple(assigns), tuple(files), _within(plain, depth))


def _redirected(tokens: list[_Token]) -> tuple[list[_Token], list[str]]:
    """Return the words without redirections, and those redirections that touch a file."""
    words: list[_Token] = []
    files: list[str] = []
    rest = iter(enumerate(tokens))
    for at, token in rest:
        if not token.operator:
            words.append(token)
            continue
        before = words[-1] if words and token.joined and tokens[at - 1] is words[-1] else None
        if before is not None and before.plain and before.word.text.isdigit():
            words.pop()  # the descriptor: ``2>``
        _, target = next(rest, (0, None))
        if target is None or target.operator:
            raise _Doubt("a redirection has no target")
        name = target.word.text
        duplicates = token.operator in (">&", "<&") and name in ("0", "1", "2", "-")
        if not duplicates and not (target.word.sure and name == "/dev/null"):
            files.append(token.operator + name)
    return words, files


def _within(words: tuple[Word, ...], depth: int) -> tuple[Command, ...]:
    """Return the commands that stand in the words of a command. Raises _Doubt where that cannot be told."""
    program = words[0].text.rpartition("/")[2]
    if program in _OPAQUE:
        raise _Doubt(f"what {program} does cannot be told from its words")
    if program == "find" and any(
        word.text in _FIND_RUNS or (not word.sure and word.text[:1] in "$*?[{-") for word in words
    ):
        raise _Doubt("find may run commands here")
    if program == "command" and len(words) > 1 and words[1].text in ("-v", "-V"):
        return ()
    if program in _SHELLS:
        return _given_to_a_shell(program, words[1:], depth)
    wrapper = _WRAPPERS.get(program)
    if wrapper is None:
        return ()
    rest, assigns = _unwrapped(program, wrapper, list(words[1:]))
    if not rest:
        if program in ("command", "exec", "builtin", "!"):
            raise _Doubt(f"{program} has no command")
        return ()
    if not rest[0].sure or not rest[0].text:
        raise _Doubt(f"what {program} runs is only known once the shell has read it")
    if depth >= DEPTH_MAX:
        raise _Doubt("commands within commands go too deep")
    if program == "!" and rest[0].text in _KEYWORDS:
        raise _Doubt(f"it has the word {rest[0].text!r} where a command begins")
    return (Command(tuple(rest), tuple(assigns), (), _within(tuple(rest), depth + 1)),)


def _unwrapped(program: str, wrapper: _Wrapper, words: list[Word]) -> tuple[list[Word], list[Word]]:
    """Return the words of the command that a wrapper runs, and what it sets for it."""
    while words and words[0].sure and words[0].text.startswith("-"):
        option = words.pop(0).text
        name, equals, _ = option.partition("=")
        if option == "--":
            break
        if option in wrapper.flags or (equals and name.startswith("--") and name in wrapper.valued):
            continue
        if option in wrapper.valued:
            if not words or not words.pop(0).sure:
                raise _Doubt(f"the options of {program} are not surely understood")
        elif option[:2] not in wrapper.valued or option.startswith("--"):
            raise _Doubt(f"{program} has the option {option}, which is not known")
    assigns: list[Word] = []
    while wrapper.assigns and words and _ASSIGN.match(words[0].text):
        assigns.append(words.pop(0))
    for _ in range(wrapper.before):
        if not words or not words.pop(0).sure:
            raise _Doubt(f"the words of {program} are not surely understood")
    return words, assigns


def _given_to_a_shell(program: str, words: tuple[Word, ...], depth: int) -> tuple[Command, ...]:
    for at, word in enumerate(words):
        if not word.sure:
            raise _Doubt(f"what {program} runs is only known once the shell has read it")
        if not word.text.startswith(("-", "+")):
            return ()  # a script
        if re.fullmatch(r"-[elux]*c", word.text):
            if at + 1 >= len(words) or not words[at + 1].sure:
                raise _Doubt(f"what {program} runs is only known once the shell has read it")
            return tuple(_commands(words[at + 1].text, depth + 1))
        if not re.fullmatch(r"-[elux]+|--login|--norc|--noprofile", word.text):
            raise _Doubt(f"{program} has the option {word.text}, which is not known")
    return ()
