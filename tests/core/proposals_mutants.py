"""Defects of core.proposals on purpose: each is what somebody could write by mistake, and the machine must see it."""

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from unittest import mock

from holdfast.core import proposals as module
from holdfast.core.identity import Kind
from holdfast.core.policy import Subject
from holdfast.core.proposals import Proposal, Proposals, State, Step, Widen

_decide = Proposals.may_decide
Patch = Callable[[], contextlib.AbstractContextManager[Any]]


@dataclass(frozen=True)
class Mutant:
    name: str
    patch: Patch


def _digest_not_compared(
    self: Proposals, subject: Subject, proposal: int, digest: bytes, step: Step, *, now: float, widen: Widen = Widen.ONCE
) -> Proposal | None:  # fmt: skip
    return _decide(self, subject, proposal, self.get(proposal).digest, step, now=now, widen=widen)


def _anybody_decides(
    self: Proposals, subject: Subject, proposal: int, digest: bytes, step: Step, *, now: float, widen: Widen = Widen.ONCE
) -> Proposal | None:  # fmt: skip
    return _decide(self, subject._replace(kind=Kind.HUMAN), proposal, digest, step, now=now, widen=widen)


def _on_behalf_of_a_person_is_a_person(
    self: Proposals, subject: Subject, proposal: int, digest: bytes, step: Step, *, now: float, widen: Widen = Widen.ONCE
) -> Proposal | None:  # fmt: skip
    return _decide(self, subject._replace(principal=""), proposal, digest, step, now=now, widen=widen)


def _ones_own_too(
    self: Proposals, subject: Subject, proposal: int, digest: bytes, step: Step, *, now: float, widen: Widen = Widen.ONCE
) -> Proposal | None:  # fmt: skip
    with mock.patch.object(module, "who", lambda operator: operator):
        return _decide(
            self, subject._replace(operator=f"{subject.operator}/1"), proposal, digest, step, now=now, widen=widen
        )


def _no_expiry(
    self: Proposals, subject: Subject, proposal: int, digest: bytes, step: Step, *, now: float, widen: Widen = Widen.ONCE
) -> Proposal | None:  # fmt: skip
    return _decide(self, subject, proposal, digest, step, now=0.0, widen=widen)


def _again_is_anew(
    self: Proposals, subject: Subject, proposal: int, digest: bytes, step: Step, *, now: float, widen: Widen = Widen.ONCE
) -> Proposal | None:  # fmt: skip
    return _decide(self, subject, proposal, digest, step, now=now, widen=widen) or self.get(proposal)


def _widens_who_may_only_propose(
    self: Proposals, subject: Subject, proposal: int, digest: bytes, step: Step, *, now: float, widen: Widen = Widen.ONCE
) -> Proposal | None:  # fmt: skip
    return _decide(self, subject, proposal, digest, step, now=now, widen=Widen.ONCE)


def _widen_without_asking_who(self: Proposals, approved: Proposal, body: Mapping[str, Any]) -> None:
    _widen(self, approved._replace(only_proposes=False), body)


_widen = Proposals._widen


def _grants_for_everybody(self: Proposals, operator: str, now: float) -> tuple[Any, ...]:
    return tuple(each for each in self._grants.values() if now < each.until)


def _grants_without_end(self: Proposals, operator: str, now: float) -> tuple[Any, ...]:
    return tuple(each for each in self._grants.values() if each.operator == operator)


def _restart_forgets(self: Proposals) -> dict[str, Any]:
    return {"proposals": [], "proposal_grants": [], "proposal_ground": [0, "", 0, ""]}


def _unbounded(self: Proposals, subject: Subject, deed: Any, bounds: Any) -> None:
    return


def _anybodys_is_withdrawn(self: Proposals, operator: str, proposal: int) -> Proposal | None:
    found = self.get(proposal)
    return found if found.state is State.PROPOSED else None


def _of(name: str, function: Any) -> Patch:
    return lambda: mock.patch.object(Proposals, name, function)


@contextlib.contextmanager
def _both(*patches: Patch) -> Any:
    with contextlib.ExitStack() as stack:
        for patch in patches:
            stack.enter_context(patch())
        yield


MUTANTS = (
    Mutant("the digest is not compared", _of("may_decide", _digest_not_compared)),
    Mutant("anybody decides", _of("may_decide", _anybody_decides)),
    Mutant("who acts for a person is that person", _of("may_decide", _on_behalf_of_a_person_is_a_person)),
    Mutant("one decides one's own", _of("may_decide", _ones_own_too)),
    Mutant("time does not matter", _of("may_decide", _no_expiry)),
    Mutant("approving again types again", _of("may_decide", _again_is_anew)),
    Mutant(
        "an approval gives more to who may only propose",
        lambda: _both(_of("may_decide", _widens_who_may_only_propose), _of("_widen", _widen_without_asking_who)),
    ),
    Mutant("a grant is everybody's", _of("grants", _grants_for_everybody)),
    Mutant("a grant has no end", _of("grants", _grants_without_end)),
    Mutant("a new segment of the journal forgets what waits", _of("carried", _restart_forgets)),
    Mutant("there are no bounds", _of("may_propose", _unbounded)),
    Mutant("anybody withdraws", _of("may_withdraw", _anybodys_is_withdrawn)),
)
