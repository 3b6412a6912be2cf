"""Whatever happens between operator and host, and to both: I3, I4, I5, I7, I8 and I9 hold, and all comes to rest.

Real are hub, channel, link, introductions, identities, grants, admission, signatures, journal chain and input index; the
shells around them are mirrored. Source: docs/simulation.md. A failure names its seed and how to run it again.
"""

import hashlib

import pytest

from tests.simulation.checkers import Violation
from tests.simulation.conftest import NORMAL
from tests.simulation.mutants import MUTANTS, Mutant, planted
from tests.simulation.world import SHAPES, World, run


def test_every_invariant_holds_in_every_world(shape: str, seeds: range) -> None:
    for seed in seeds:
        run(seed, shape)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name.replace(" ", "-"))
def test_a_planted_defect_is_seen_by_its_checker(mutant: Mutant) -> None:
    """Worlds of the same seeds without the defect are among those above, and all of them pass."""
    assert mutant.within <= NORMAL[mutant.shape]
    with planted(mutant) as flags:
        for seed in range(mutant.within):
            try:
                run(seed, mutant.shape, flags=flags, checkers=(mutant.checker,))
            except Violation as found:
                assert found.name == mutant.checker.__name__
                return
    pytest.fail(f"{mutant.name}: not seen in {mutant.within} worlds")


def told(world: World) -> str:
    """A digest of all that happened."""
    found = hashlib.sha256(world.scheduler.story().encode())
    for host in world.hosts:
        for stored in host.disk.journals.values():
            found.update(b"".join(stored))
        for terminal in host.disk.terminals.values():
            found.update(terminal.out)
    return f"{world.scheduler.steps} {found.hexdigest()}"


@pytest.mark.parametrize("shape", SHAPES)
def test_a_seed_tells_one_story(shape: str) -> None:
    assert told(run(11, shape)) == told(run(11, shape)) != told(run(12, shape))


def test_the_worlds_are_not_empty() -> None:
    """Checkers that have nothing to check pass: so much at least happens in a hundred worlds."""
    worlds = [run(seed, "hostile") for seed in range(60)] + [run(seed, "faults") for seed in range(40)]
    ledgers = [world.ledger for world in worlds]
    programs = [program for ledger in ledgers for program in ledger.programs.values()]
    outcomes = [answer.outcome for program in programs for answer in program.answers]
    assert outcomes.count("applied") > 300
    assert outcomes.count("refused") + outcomes.count("partial") + outcomes.count("input-unknown") > 3
    assert sum(len(ledger.answered) for ledger in ledgers) > 500  # handshakes
    assert sum(len(following.events) for ledger in ledgers for following in ledger.followings) > 700
    assert sum(len(following.gaps) for ledger in ledgers for following in ledger.followings) > 10
    assert sum(len(ledger.sent) for ledger in ledgers) > 2000
    assert sum(len(ledger.learned) for ledger in ledgers) > 20
    assert sum(bool(program.resent) for program in programs) > 20
    impostors = set().union(*(ledger.believed for ledger in ledgers)) - set().union(
        *(ledger.answered for ledger in ledgers)
    )
    assert impostors, "no client ever talked to an impostor with a leaked key"
