"""Every error a person or program can meet: a stable code, what happened and still holds, and what to do next."""

from collections.abc import Mapping
from typing import Any, Final


class HoldError(Exception):
    """What went wrong, in words; ``code`` is what clients and runbooks match on, never the text.

    ``do`` is the next step for the reader; ``details`` are plain values that travel the wire.
    """

    code: str = "error"

    def __init__(self, message: str, *, do: str = "", **details: Any) -> None:
        super().__init__(message)
        self.message, self.do, self.details = message, do, details

    def __str__(self) -> str:
        return f"{self.message}; {self.do}" if self.do else self.message


class BadName(HoldError):
    code = "bad-name"

    def __init__(self, name: str) -> None:
        super().__init__(
            f"{name!r} cannot name a session; nothing was changed",
            do="use 1 to 64 letters, digits, '.', '_' or '-', beginning with a letter or digit",
            name=name,
        )


class NoSuchSession(HoldError):
    """Unknown and forbidden are said in the same words (I9)."""

    code = "no-such-session"

    def __init__(self, name: str) -> None:
        super().__init__(
            f"no session {name!r} here that you may reach", do="`hold ls -a` lists what there is", name=name
        )


class NameTaken(HoldError):
    code = "name-taken"

    def __init__(self, name: str) -> None:
        super().__init__(
            f"a session named {name!r} is already running here; it was left alone",
            do=f"attach to it (`hold attach {name}`) or choose another name",
            name=name,
        )


class SessionEnded(HoldError):
    """The session is over; how and when travels in ``details`` (``how``, ``status``, ``at``)."""

    code = "session-ended"

    def __init__(self, name: str, *, how: str, **details: Any) -> None:
        super().__init__(
            f"session {name!r} has ended ({how}); its record is kept",
            do=f"`hold view {name}` shows its last screen",
            name=name,
            how=how,
            **details,
        )


class IllegalStep(HoldError):
    code = "illegal-step"

    def __init__(self, now: str, signal: str, story: tuple[str, ...] = ()) -> None:
        led = f" after {' -> '.join(story)}" if story else ""
        super().__init__(
            f"a session that is {now} cannot take the step {signal}{led}; it stays {now}",
            do="this is a defect of Holdfast: please report it with `hold info --json`",
            now=now,
            signal=signal,
        )


class Refused(HoldError):
    """Understood and not done: the request is against a rule, which the text names."""

    code = "refused"


class Nested(Refused):
    code = "nested"

    def __init__(self, name: str) -> None:
        super().__init__(
            f"this terminal already is inside session {name!r}, and a session shown in itself repeats without end; "
            "nothing was changed",
            do="detach first (Ctrl-\\ d), or start it detached with `hold new -d`, or unset HOLDFAST_SESSION if you mean it",
            name=name,
        )


class LineTooLong(Refused):
    """A canonical-mode terminal silently loses what exceeds 4,095 bytes of one line; Holdfast refuses instead."""

    code = "line-too-long"

    def __init__(self, size: int, most: int) -> None:
        super().__init__(
            f"one line of {size} bytes is longer than the terminal's line editor takes ({most}); none of it was typed",
            do="send it in shorter lines, or write it to a file and have the program read that",
            size=size,
            most=most,
        )


class JournalRolledBack(HoldError):
    """I8: the host's record of a session is older than, or other than, what was seen of it before."""

    code = "journal-rolled-back"

    def __init__(self, session: str, why: str) -> None:
        super().__init__(
            f"session {session!r}: {why}",
            do="ask whoever runs the host; attach with accept_rollback=True to go on with what it has",
            session=session,
        )


class InputUnknown(HoldError):
    """I5: whether the bytes reached the terminal cannot be told; they will not be sent again.

    ``refused``: the code of what it is refused with now, if it may have been typed before it was.
    """

    code = "input-unknown"

    def __init__(self, seq: int, *, refused: str = "") -> None:
        why = (
            f"the way to the host was lost while this input was on it, and now it is refused ({refused})"
            if refused
            else "the host was replaced while this input was on its way"
        )
        super().__init__(
            f"{why}; whether it was typed is unknown, and it was not sent again",
            do="look at the screen, then decide whether to type it again",
            seq=seq,
            **({"refused": refused} if refused else {}),
        )


class OutcomeUnknown(HoldError):
    """It may have been carried out before the way to the host was lost; now it is refused. It was not repeated."""

    code = "outcome-unknown"

    def __init__(self, verb: str, *, refused: str) -> None:
        super().__init__(
            f"the way to the host was lost before it answered this {verb}, and now it is refused ({refused}); whether "
            "it was carried out before that is unknown",
            do="look at the session (`hold info`), then decide whether to ask again",
            verb=verb,
            refused=refused,
        )


class HostUnreachable(HoldError):
    code = "host-unreachable"

    def __init__(self, where: str, why: str) -> None:
        super().__init__(
            f"no host answers at {where} ({why}); sessions on it may be running all the same",
            do="`hold host status` tells more, `hold host up` starts it and adopts what runs",
            where=where,
        )


class HostFailed(HoldError):
    """The host met something it did not expect while serving one request; sessions are not touched by it."""

    code = "host-failed"


class CannotStart(HoldError):
    """The session's command could not be started; no session was made."""

    code = "cannot-start"


class BadMessage(HoldError):
    """A peer sent what is not a message of this protocol, or one larger than it may be."""

    code = "bad-message"


class WrongVersion(HoldError):
    code = "wrong-version"

    def __init__(self, theirs: int, ours: int) -> None:
        super().__init__(
            f"the other side speaks protocol {theirs}, this one {ours}; nothing was changed",
            do="`hold host restart` replaces the host by the installed version; running sessions stay",
            theirs=theirs,
            ours=ours,
        )


class Fenced(HoldError):
    """A newer generation holds what this one asked for; the older one must stop."""

    code = "fenced"

    def __init__(self, who: str, theirs: int) -> None:
        super().__init__(
            f"{who} obeys a newer host (generation {theirs}); nothing was changed",
            do="use the newer host; this one stops by itself",
            theirs=theirs,
        )


class HolderLost(HoldError):
    """The link to a holder or keeper ended; the execution is not touched by it."""

    code = "holder-lost"

    def __init__(self, who: str, why: str) -> None:
        super().__init__(f"{who} cannot be reached ({why}); the execution runs on", do="try again in a moment", why=why)


class TooMany(Refused):
    """A bound was reached (I11): the text names which and how to raise it."""

    code = "too-many"


class OutOfTurn(Refused):
    """Somebody may act in this session, but not now: control, a pause or the world itself stands against it. Nothing
    reached the terminal. Source: docs/operators.md."""

    code = "out-of-turn"


class NotYourTurn(OutOfTurn):
    """Another operator has control. ``details``: ``holder``, ``kind`` of it, ``state``, ``term``."""

    code = "not-in-control"

    def __init__(self, holder: str, kind: str, state: str, term: int) -> None:
        super().__init__(
            f"{holder} ({kind}) has control; nothing was typed",
            do="ask for control, or wait until it is given or released; a person may take it",
            holder=holder,
            kind=kind,
            state=state,
            term=term,
        )


class StaleTerm(OutOfTurn):
    """Control changed after the sender last heard of it. ``details``: ``term`` now, ``seen``, ``changed_by``, ``how``."""

    code = "stale-term"

    def __init__(self, seen: int, term: int, changed_by: str, how: str) -> None:
        why = f"control changed hands since this was sent ({how} by {changed_by})" if changed_by else how
        super().__init__(
            f"{why}; it was dropped and nothing was typed",
            do="look at the session and who has control, then send it again if it still makes sense",
            seen=seen,
            term=term,
            changed_by=changed_by,
            how=how,
        )


class StaleBasis(OutOfTurn):
    """What an AI operator had seen is no longer so. ``details``: ``changed_by``, ``position``, ``what`` (input, command)."""

    code = "stale-basis"

    def __init__(self, what: str, changed_by: str, position: int) -> None:
        said = f"{changed_by} typed" if what == "input" else "the command that runs is another one"
        super().__init__(
            f"the session moved on since you looked ({said}); nothing was typed",
            do="observe it again and decide anew",
            what=what,
            changed_by=changed_by,
            position=position,
        )


class Paused(OutOfTurn):
    """A person paused every operator that is not one. ``details``: ``by``, ``term``."""

    code = "paused"

    def __init__(self, by: str, term: int) -> None:
        super().__init__(
            f"{by} paused AI operators in this session; nothing was done, and you may go on watching",
            do="wait until a person resumes it; you may ask for control meanwhile",
            by=by,
            term=term,
        )


class Private(OutOfTurn):
    """A person made the session private: only people see it and act in it. ``details``: ``by``, ``term``."""

    code = "private"

    def __init__(self, by: str, term: int) -> None:
        super().__init__(
            f"{by} made this session private for the moment; nothing was done and nothing of it is shown",
            do="wait until it is public again; you may ask for control meanwhile",
            by=by,
            term=term,
        )


class LineBusy(OutOfTurn):
    """Somebody else has typed a line that is not submitted. ``details``: ``by``, ``free_in_s`` if they stop typing."""

    code = "line-busy"

    def __init__(self, by: str, free_in_s: float) -> None:
        super().__init__(
            f"{by} is typing a line; your bytes were not put into it",
            do=f"wait for their Enter, or until they have not typed for {max(free_in_s, 0):.0f} s; a person may take control",
            by=by,
            free_in_s=round(free_in_s, 3),
        )


class TooFast(OutOfTurn):
    """An operator that is no person acts more often than it may. ``details``: ``retry_in_s``."""

    code = "too-fast"

    def __init__(self, retry_in_s: float) -> None:
        super().__init__(
            "this operator acts faster than the host allows; nothing was done",
            do=f"go on in {retry_in_s:.2f} s, and send more in one input",
            retry_in_s=round(retry_in_s, 3),
        )


class NoControl(OutOfTurn):
    """An operator of this kind, or with this right, cannot do that with control at all. ``details``: ``act``, ``kind``."""

    code = "no-control"

    def __init__(self, act: str, kind: str, why: str) -> None:
        super().__init__(
            f"{why}; control was not changed and nothing was typed", do="ask a person who may", act=act, kind=kind
        )


class Gated(Refused):
    """The policy of the host stands against an act. No byte of it reached the session."""

    code = "gated"


class Denied(Gated):
    """A rule forbids it. ``details``: ``rule`` (where it stands in the policy), ``reason``."""

    code = "denied"

    def __init__(self, rule: str, reason: str) -> None:
        super().__init__(
            f"the host's policy denies this ({rule}: {reason}); nothing of it was typed or done",
            do="do it another way, or ask the person who keeps the policy: `hold policy show`",
            rule=rule,
            reason=reason,
        )


class NeedsApproval(Gated):
    """A person has to approve it first. It is held as a proposal, which waits. ``details``: ``proposal`` (its id),
    ``digest`` (hex), ``rule``, ``reason``, ``expires_at`` (Unix seconds)."""

    code = "needs-approval"

    def __init__(self, session: str, proposal: int, *, digest: str, rule: str, reason: str, expires_at: float) -> None:
        super().__init__(
            f"this needs a person's approval ({rule}: {reason}); it waits as proposal {proposal}, and nothing was typed",
            do=f"do not send it again: the host does it once it is approved (`hold approve {session} {proposal}`); "
            "wait for the decision",
            session=session,
            proposal=proposal,
            digest=digest,
            rule=rule,
            reason=reason,
            expires_at=expires_at,
        )


class NoSuchProposal(Gated):
    code = "no-such-proposal"

    def __init__(self, proposal: int) -> None:
        super().__init__(
            f"there is no proposal {proposal} here, or it was decided too long ago to be known; nothing was done",
            do="`hold approvals` lists what waits",
            proposal=proposal,
        )


class MayNotDecide(Gated):
    """Nobody decides their own proposal, and only people decide any. ``details``: ``reason``."""

    code = "may-not-decide"

    def __init__(self, reason: str) -> None:
        super().__init__(
            f"{reason}; the proposal was left as it is",
            do="a person who may operate this session, and did not propose it, decides: `hold approvals`",
            reason=reason,
        )


class WrongDigest(Gated):
    """The decision is about other bytes than the proposal's."""

    code = "wrong-digest"

    def __init__(self, proposal: int) -> None:
        super().__init__(
            f"proposal {proposal} is not what you looked at: its hash is another one; nothing was decided",
            do="look at it again (`hold approvals`), and decide about what is shown then",
            proposal=proposal,
        )


class AlreadyDecided(Gated):
    """``details``: ``state`` it is in now, ``by``."""

    code = "already-decided"

    def __init__(self, proposal: int, state: str, by: str) -> None:
        super().__init__(
            f"proposal {proposal} is {state}{f' by {by}' if by else ''}; that was not changed",
            do="if it is still wanted, it has to be proposed again",
            proposal=proposal,
            state=state,
            by=by,
        )


class BadPattern(Refused):
    """What was given as a pattern is none that this host searches for. Nothing was waited for."""

    code = "bad-pattern"

    def __init__(self, pattern: str, why: str) -> None:
        shown = pattern if len(pattern) <= 80 else pattern[:77] + "..."
        super().__init__(
            f"{shown!r} is no pattern that can be waited for: {why}",
            do="write a regular expression in the syntax of RE2, which has neither look-around nor back references",
            why=why,
        )


class BadLine(Refused):
    """What was to be run is no command line that can be submitted as one unit. Nothing was typed."""

    code = "bad-line"


class NotAtPrompt(Refused):
    """The shell does not wait for a command: something runs, or a line was begun. Nothing was typed.

    ``details``: ``what`` (command, program, line, continued, password), ``who`` and, of a command, its ``command`` id.
    """

    code = "not-at-prompt"


class Unmarked(Refused):
    """The shell does not mark where commands begin and end, so none can be told from another. Nothing was typed."""

    code = "unmarked"

    def __init__(self, name: str, program: str) -> None:
        super().__init__(
            f"what runs in {name!r} ({program or 'unknown'}) does not say where its commands begin and end; nothing was typed",
            do=f"type it with `hold send {name}`, or run it unmarked (--unmarked), which knows only when it is quiet again",
            name=name,
            program=program,
        )


class IncompleteLine(HoldError):
    """The line was typed, and the shell waits for the rest of it: a quote or a block is open. No command runs."""

    code = "incomplete-line"

    def __init__(self, name: str) -> None:
        super().__init__(
            "the line was typed and the shell goes on waiting: a quote or a block is open, or there is an error in it",
            do=f"type the rest, or throw the line away: `hold send {name} --keys Ctrl+C`",
            name=name,
        )


class NothingRan(HoldError):
    """The line was typed and the shell is back at its prompt: it ran no command."""

    code = "nothing-ran"

    def __init__(self) -> None:
        super().__init__(
            "the line was typed, and the shell ran nothing: it found an error in it, or only a comment",
            do="look at the screen: the shell says there what it did not like",
        )


class StorageFailed(HoldError):
    """The disk refused; the execution goes on, and what was not kept is marked."""

    code = "storage-failed"


class Corrupt(HoldError):
    """A stored record does not verify; the text names the first one that does not."""

    code = "corrupt"


class Timeout(HoldError):
    """What was waited for did not happen in time; nothing was stopped or undone."""

    code = "timeout"


class BadCursor(HoldError):
    """What was given as a cursor is none; it was not guessed at."""

    code = "bad-cursor"

    def __init__(self, text: str) -> None:
        shown = text if len(text) <= 80 else text[:77] + "..."
        super().__init__(
            f"{shown!r} is not a cursor; nothing was read",
            do="pass the cursor exactly as it was handed out, or leave it out to begin with the present state",
        )


class NotSupported(Refused):
    """No part of this is done here, and nothing that would pass for it was done instead."""

    code = "not-supported"


def _all(kind: type[HoldError]) -> dict[str, type[HoldError]]:
    found = {kind.code: kind}
    for below in kind.__subclasses__():
        found |= _all(below)
    return found


BY_CODE: Final[Mapping[str, type[HoldError]]] = _all(HoldError)
# Kinds of those above whose own classes lie in other layers, which whoever reads about them may not have loaded.
_LIKE: Final[Mapping[str, type[HoldError]]] = {
    "relay-unreachable": HostUnreachable,
    "no-such-host": NoSuchSession,
    "forbidden": Refused,
}


def revived(code: str, message: str, do: str, details: Mapping[str, Any]) -> HoldError:
    """Return the error a peer reported, of its own type where this version knows the code."""
    kind = BY_CODE.get(code) or _LIKE.get(code, HoldError)
    error = kind.__new__(kind)
    error.code = code
    HoldError.__init__(
        error, message, do=do, **{str(k): v for k, v in details.items() if str(k) not in {"message", "do"}}
    )
    if kind is HoldError:
        error.details.setdefault("code", code)
    return error
