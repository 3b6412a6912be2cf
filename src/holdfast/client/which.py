"""Find which of the user's profiles a host is meant in, where no profile was named. Async.

Not here: meeting it (meeting). A profile's own name stands for the host it was made at: that is how a guest, who cannot read
names, says where.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from holdfast.client.credentials import DEFAULT, NoCredentials, Store, profiles
from holdfast.client.meeting import Meeting, NoSuchHostHere, Target, keys_folder
from holdfast.core.errors import HoldError, Refused


async def find(meeting_of: Callable[[str], Meeting], profile: str, host: str) -> tuple[Meeting, Target]:
    """Return where to meet ``host`` of ``profile``, or of whichever profile knows it if that is empty.

    Raises NoSuchHostHere, NoCredentials, Refused if several know it and none is the default one, and what meeting relays
    raises.
    """
    folder = keys_folder()
    if profile:
        return meeting_of(profile), _its_own(profile, host) or await meeting_of(profile).find(host)
    names = sorted(profiles(folder), key=lambda name: (name != DEFAULT, name))
    if not names:
        raise NoCredentials("profile", do="`hold join` makes one, or `hold up` makes this machine reachable")
    if host in names and (target := _its_own(host, host)) is not None:
        return meeting_of(host), target
    knowing = [name for name in names if meeting_of(name).knows(host)]
    if len(knowing) > 1 and DEFAULT not in knowing:
        raise Refused(
            f"{host!r} is known to several profiles ({', '.join(knowing)}); nothing was done",
            do="choose one with --profile",
        )
    errors: list[HoldError] = []
    for name in knowing[:1] or names:
        try:
            return meeting_of(name), await meeting_of(name).find(host)
        except HoldError as error:
            errors.append(error)
    raise next((error for error in errors if error.code != NoSuchHostHere.code), errors[0])


def _its_own(profile: str, host: str) -> Target | None:
    """The host that a profile was made at, if ``host`` is the profile's own name."""
    if host != profile:
        return None
    with contextlib.suppress(NoCredentials):
        if key := Store(keys_folder(), profile).profile.default_host:
            return Target(profile, key)
    return None
