"""Call operators by the names that this user gave them: the one place that knows them. Not here: sealed names, which travel
(credentials).
"""

from __future__ import annotations

from holdfast.client import ledger
from holdfast.client.credentials import Store, profiles
from holdfast.client.meeting import keys_folder
from holdfast.core.errors import HoldError
from holdfast.core.identity import operator_id


def names(*, me: str = "") -> dict[str, str]:
    """Return what this user calls the operators it knows, by id: themself, and whoever they let in. Empty without keys.

    ``me``: what stands for the user, instead of the name in their profile. Profiles that cannot be read are passed over.
    """
    found: dict[str, str] = {}
    folder = keys_folder()
    try:
        for name in profiles(folder):
            store = Store(folder, name)
            found[str(operator_id(store.operator.key))] = me or store.profile.operator_name or name
            for each in ledger.read(store).given:
                if each.name:
                    found.setdefault(str(operator_id(each.key)), each.name)
    except (HoldError, OSError):
        pass
    return found
