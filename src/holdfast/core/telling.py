"""Say in words what a record says: who did what, escapes made visible. Pure; for people, never for checking (evidence)."""

import unicodedata
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from holdfast.core.journal import Kind, Record
from holdfast.core.withheld import is_withheld

SHOWN_MAX: Final = 200  # characters of typed or signed bytes in one line
NOT_SHOWN: Final = "(not shown)"


class Told(NamedTuple):
    """One record in words. ``proof``: how its author is known: ``signed``, ``local`` (the host vouches), ``host``."""

    position: int
    at: float  # Unix seconds
    who: str
    kind: str
    what: str
    proof: str


def visible(data: bytes, most: int = SHOWN_MAX) -> str:
    """Return ``data`` on one line that holds no control, format or bidirectional character, and cannot be misread as one.

    ``^C``, ``^[`` for controls, ``\\\\xff`` for what is no UTF-8, ``\\\\u{202e}`` for what a terminal would not show.
    """
    shown: list[str] = []
    size = 0
    for char in data.decode("utf-8", "surrogateescape"):
        code = ord(char)
        if code < 0x20 or code == 0x7F:
            piece = "^" + chr(code ^ 0x40)
        elif 0xDC80 <= code <= 0xDCFF:
            piece = f"\\x{code - 0xDC00:02x}"
        elif char == "\\":
            piece = "\\\\"
        elif unicodedata.category(char) in ("Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp"):
            piece = f"\\u{{{code:x}}}"
        else:
            piece = char
        size += len(piece)
        if size > most:
            return "".join(shown) + "…"
        shown.append(piece)
    return "".join(shown)


def told(record: Record, names: Mapping[str, str] | None = None) -> Told:
    """Return what ``record`` says. ``names``: of operators by id, as far as they are known."""
    return Told(
        record.position,
        record.at_ns / 1e9,
        who(record, names or {}),
        text(record.kind, 40),
        what(record),
        proof(record),
    )


def proof(record: Record) -> str:
    """Return how the author of a record is known, in one word; it is not checked here."""
    if record.signature:
        return "signed"
    return "host" if record.operator == "host" else "local"


def who(record: Record, names: Mapping[str, str]) -> str:
    """Return the author, by name where it is known, and on whose behalf."""
    principal = record.body.get("on_behalf_of")
    said = _named(record.operator, names)
    return f"{said} for {_named(str(principal), names)}" if principal else said


def _named(operator: str, names: Mapping[str, str]) -> str:
    id_, slash, rest = operator.partition("/")
    name = names.get(id_)
    return f"{text(name, 64)} ({text(id_, 64)}){slash}{text(rest, 64)}" if name else text(operator, 128)


def text(value: Any, most: int = SHOWN_MAX) -> str:
    """Return any value of a body on one line."""
    if isinstance(value, bytes):
        return visible(value, most)
    return visible(str(value).encode("utf-8", "surrogatepass"), most)


def what(record: Record) -> str:
    """Return what was done, without its author."""
    say = _SAY.get(record.kind)
    if say is not None:
        try:
            return say(record.body)
        except (KeyError, TypeError, ValueError, AttributeError):
            pass  # of another version: shown as it is
    skip = ("on_behalf_of", "action")
    return ", ".join(f"{text(key, 40)} {text(value)}" for key, value in record.body.items() if key not in skip)


def _input(body: Mapping[str, Any]) -> str:
    return f"typed {NOT_SHOWN if is_withheld(body) else visible(body['data'])}"


def _typed(body: Mapping[str, Any]) -> str:
    return f"input {body['of']}: {text(body['outcome'])}" + (
        f", {body['written']} bytes" if body.get("written") else ""
    )


def _refused(body: Mapping[str, Any]) -> str:
    often = f", {body['count']} times since the last word of it" if body["count"] > 1 else ""
    return f"was refused to {text(body['verb'], 40)} ({text(body['reason'], 40)}{often})"


def _ended(body: Mapping[str, Any]) -> str:
    status = f", status {body['status']}" if body.get("status") is not None else ""
    return f"{text(body['how'])}{status}" + (f": {text(body['why'])}" if body.get("why") else "")


def _command(body: Mapping[str, Any]) -> str:
    end = f", status {body['status']}" if body.get("status") is not None else ""
    by = f" by {text(body['author'], 64)}" if body.get("author") else ""
    return f"command {body['id']} {text(body.get('state', ''))}{end}{by}: {text(body.get('text', ''))}"


def _output(body: Mapping[str, Any]) -> str:
    return f"output {body['sums'][0][0]} to {body['sums'][-1][1]} bound by {len(body['sums'])} digests"


def _deed(deed: Any) -> str:
    verb, data, number, tree, size = deed
    if verb == "signal":
        return f"signal {number}{' to the whole tree' if tree else ''}"
    return f"size {size[1]}x{size[0]}" if verb == "resize" else f"{text(verb, 20)} {visible(data)}"


def _decision(body: Mapping[str, Any]) -> str:
    verdict = {
        "approve": "approved", "deny": "denied", "expire": "let expire", "withdraw": "withdrew", "stale": "found stale",
        "executed": f"did what was approved ({text(body.get('outcome', ''), 20)}):",
    }[body["verdict"]]  # fmt: skip
    why = f": {text(body['why'])}" if body.get("why") else ""
    return f"{verdict} proposal {body['proposal']}{why}"


_SAY: Final[Mapping[str, Callable[[Mapping[str, Any]], str]]] = {
    Kind.BORN: lambda body: "started " + " ".join(text(word, 80) for word in body["argv"]),
    Kind.INPUT: _input,
    Kind.TYPED: _typed,
    Kind.REPLY: lambda body: f"answered the terminal query before output {body['query_end']}",
    Kind.ATTACH: lambda body: f"attached ({'observes' if body['observe'] else 'may type'}, {text(body['view'])})",
    Kind.DETACH: lambda body: f"detached ({text(body['cause'])})",
    Kind.RESIZE: lambda body: f"resized to {body['cols']}x{body['rows']}",
    Kind.SIGNAL: lambda body: f"sent signal {body['signal']} to {'the whole tree' if body.get('tree') else 'the foreground'}",
    Kind.ENDED: _ended,
    Kind.REFUSED: _refused,
    Kind.KILL: lambda body: f"asked for its end ({text(body['why'])})",
    Kind.RENAME: lambda body: f"renamed it from {text(body['from'], 80)} to {text(body['to'], 80)}",
    Kind.HOST_GENERATION: lambda body: f"host generation {body['generation']} took over",
    Kind.COMMAND: _command,
    Kind.OUTPUT: _output,
    Kind.CHECKPOINT: lambda body: f"checkpoint {body['number']}: the host signed the record so far",
    Kind.PROPOSAL: lambda body: f"proposed {_deed(body['deed'])} ({text(body['rule'], 60)})",
    Kind.DECISION: _decision,
    Kind.DENIED: lambda body: f"was denied {text(body['verb'], 20)} ({text(body['rule'], 60)}: {text(body['why'])})",
    Kind.CONFLICT: lambda body: f"{text(body['first'], 64)} and {text(body['then'], 64)} submitted at once; both were done",
    Kind.CARRIED: lambda body: "what later records rest on, written down anew",
}  # fmt: skip
