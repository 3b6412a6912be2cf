"""What each tool takes: the arguments, checked, and what a model is told of them. Pure.

Not here: what the tools do (acts). A test holds all of this under two thousand tokens, since every conversation pays for it.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

import msgspec

WAIT_S_MAX: Final = 45.0  # longer waits are cut to this and resumed: AI hosts give up on a call after about a minute
TOKENS: Final = 3000
TOKENS_MAX: Final = 10_000
TEXT_MAX: Final = 60_000  # characters that one call may type

Session = Annotated[str, msgspec.Meta(description="Name or id; NAME@HOST for another machine.", min_length=1)]
Seconds = Annotated[float, msgspec.Meta(description="At most 45; more is cut to 45. A timeout stops nothing.", ge=0)]
Tokens = Annotated[int, msgspec.Meta(description="Most tokens of text to return.", ge=50)]
Offset = Annotated[int, msgspec.Meta(ge=0)]
Basis = Annotated[str, msgspec.Meta(description="rev of the result you decide on; default: the latest you were given.")]


class Tool(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of what a call says. The docstring of each is what the model reads."""


class ListSessions(Tool, frozen=True, tag="list_sessions", tag_field="tool"):
    """List sessions: terminals that live on, whoever comes and goes."""

    host: Annotated[str, msgspec.Meta(description="Another machine, by name.")] = ""
    ended: bool = False


class OpenSession(Tool, frozen=True, tag="open_session", tag_field="tool"):
    """Start a session, or return the running one of that name. Safe to repeat."""

    name: Annotated[str, msgspec.Meta(min_length=1)]
    command: Annotated[tuple[str, ...], msgspec.Meta(description="Program and arguments; default: a shell.")] = ()
    cwd: str = ""
    rows: Annotated[int, msgspec.Meta(ge=2, le=500)] = 40
    cols: Annotated[int, msgspec.Meta(ge=20, le=500)] = 120


class Observe(Tool, frozen=True, tag="observe", tag_field="tool"):
    """Look at a session. Do this first, and again after a refusal that says something changed."""

    session: Session
    view: Annotated[
        Literal["auto", "screen", "new", "commands"],
        msgspec.Meta(
            description="auto: new output, or the screen of a full-screen program; commands: latest commands."
        ),
    ] = "auto"
    since: Annotated[int, msgspec.Meta(description="new: from this offset; default: what you have not seen.")] = -1
    max_tokens: Tokens = TOKENS


class Run(Tool, frozen=True, tag="run", tag_field="tool"):
    """Run one command line at the shell's prompt; return its own output and exit status. cd and exports last."""

    session: Session
    command: Annotated[str, msgspec.Meta(min_length=1, max_length=TEXT_MAX)]
    timeout_s: Seconds = 30.0
    max_tokens: Tokens = TOKENS
    basis: Basis = ""


class Send(Tool, frozen=True, tag="send", tag_field="tool"):
    """Type into whatever is in the foreground, then show what changed. Enter is never added."""

    session: Session
    text: Annotated[str, msgspec.Meta(max_length=TEXT_MAX)] = ""
    keys: Annotated[tuple[str, ...], msgspec.Meta(description="After text: Enter, Ctrl+C, Up, Escape, F5, Alt+x.")] = ()
    max_tokens: Tokens = TOKENS
    basis: Basis = ""


class Wait(Tool, frozen=True, tag="wait", tag_field="tool"):
    """Wait until the first of these happens and say which. If time is up, call again with since."""

    session: Session
    until: Annotated[
        tuple[Literal["exit", "input", "match", "quiet", "command", "human", "approval"], ...],
        msgspec.Meta(
            description="input: a program asks; command: command_id ends; human: control changes; approval: proposal is decided."
        ),
    ] = ("input",)
    match: Annotated[str, msgspec.Meta(description="Regular expression (RE2) for new output.")] = ""
    quiet_s: Annotated[float, msgspec.Meta(ge=0.1)] = 2.0
    command_id: Offset = 0
    proposal: Offset = 0
    since: Annotated[
        int, msgspec.Meta(description="Offset from which output is new; default: what you have not seen.")
    ] = -1
    timeout_s: Seconds = 30.0
    max_tokens: Tokens = TOKENS


class ReadOutput(Tool, frozen=True, tag="read_output", tag_field="tool"):
    """Page through kept output, also after the end: of a command or the session, from a byte offset, or lines with a text."""

    session: Session
    command_id: Offset = 0
    offset: Annotated[int, msgspec.Meta(description="Default: the beginning.")] = -1
    grep: Annotated[str, msgspec.Meta(description="Only lines that contain this.")] = ""
    max_tokens: Tokens = TOKENS


class Control(Tool, frozen=True, tag="control", tag_field="tool"):
    """Who may type. acquire, release; interrupt your running command; request_human parks until a person acted."""

    session: Session
    action: Literal["status", "acquire", "release", "interrupt", "request_human"] = "status"
    reason: Annotated[str, msgspec.Meta(description="Shown to people.", max_length=300)] = ""
    timeout_s: Seconds = 45.0


TOOLS: Final[tuple[type[Tool], ...]] = (ListSessions, OpenSession, Observe, Run, Send, Wait, ReadOutput, Control)
BY_NAME: Final = {str(each.__struct_config__.tag): each for each in TOOLS}
READ_ONLY: Final = frozenset({"list_sessions", "observe", "wait", "read_output"})


class BadArguments(Exception):
    """What a call says is not what the tool takes; the text says what is wrong and what would be right."""


def arguments(name: str, given: dict[str, Any] | None) -> Tool:
    """Return what a call says. Raises BadArguments, in words for the model."""
    kind = BY_NAME.get(name)
    if kind is None:
        raise BadArguments(f"there is no tool {name!r}; there are {', '.join(BY_NAME)}")
    fields = kind.__struct_fields__
    said = {
        key: value for key, value in (given or {}).items() if value is not None
    }  # some hosts send null for "not given"
    try:
        return msgspec.convert(said | {"tool": name} if "tool" not in said else said, kind, strict=False)
    except msgspec.ValidationError as error:
        why = str(error).replace("`$.", "`").replace("Object", "the call")
        raise BadArguments(f"{why}. {name} takes: {', '.join(fields)}. Nothing was done; call again") from None


def schema(kind: type[Tool]) -> dict[str, Any]:
    """Return the JSON schema of a tool's arguments, without what a model has no use for."""
    _, components = msgspec.json.schema_components([kind], ref_template="#/$defs/{name}")
    whole: dict[str, Any] = components[kind.__name__]
    properties = {name: _plain(each) for name, each in whole["properties"].items() if name != "tool"}
    required = [name for name in whole.get("required", []) if name != "tool"]
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def _plain(each: dict[str, Any]) -> dict[str, Any]:
    left_out = ("title", "minLength", "maxLength") + (
        ("default",) if each.get("default") in ("", -1, 0, [], ()) else ()
    )
    return {name: value for name, value in each.items() if name not in left_out}
