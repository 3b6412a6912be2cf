"""Know what a host may have done already although it refuses it now, so that nobody is told it was not done (I5).

Pure; one ``Doubts`` per link, at the end that dials. Source: docs/channel.md, "Refused, but perhaps done".

A new link says its first words at a guess, before the host was heard. If that carrier dies, the words are said again on
the next one; and if the host has ended the link in between (a right ended, it was restarted, nobody came for too long),
it cannot know that it heard them before. The link is new to it, and whoever speaks may have lost the right meanwhile.
"""

import msgspec

from holdfast.core.errors import HoldError, InputUnknown, OutcomeUnknown
from holdfast.wire import signing
from holdfast.wire.messages import Failed, Input, Message

_KNOWN = InputUnknown.code  # says by itself that nobody can tell


def doubted(refused: Failed, asked: Message) -> Failed:
    """Return what to tell of ``asked``, which may have been carried out before it was ``refused``."""
    if refused.code == _KNOWN:
        return refused
    error: HoldError = (
        InputUnknown(asked.seq, refused=refused.code)
        if isinstance(asked, Input)
        else OutcomeUnknown(signing.verb_of(asked), refused=refused.code)
    )
    return Failed(refused.ref, error.code, error.message, error.do, error.details)


class Doubts:
    """What was said on one link on a carrier before that on which the host was first heard."""

    def __init__(self) -> None:
        self._asked: dict[int, tuple[int, Message]] = {}  # ref -> first carrier, what was asked
        self._met = False

    def said(self, message: Message, *, carrier: int) -> None:
        """Note that ``message``, as its user said it, was given to the link, for ``carrier`` at the earliest.

        Bounded by what a link keeps for a host that was never heard; afterwards nothing is noted.
        """
        ref: int = getattr(message, "ref", 0)
        if not self._met and ref and signing.verb_of(message) in signing.SIGNED:
            if isinstance(message, Input):
                message = msgspec.structs.replace(message, data=b"")  # its number is all that will be needed
            self._asked[ref] = (carrier, message)

    def met(self, carrier: int) -> None:
        """Note that the host was heard on ``carrier``: from now on the link itself knows what arrived."""
        if not self._met:
            self._met = True
            self._asked = {ref: asked for ref, asked in self._asked.items() if asked[0] < carrier}

    def told(self, message: Message) -> Message:
        """Return what to tell of an answer of the host: itself, unless it refuses what may have been done before."""
        if not self._asked:
            return message
        asked = self._asked.pop(getattr(message, "ref", 0), None)
        return doubted(message, asked[1]) if asked is not None and isinstance(message, Failed) else message
