"""Ids, names, places and errors: small rules that everything else leans on."""

from pathlib import Path

import pytest

from holdfast.core import errors
from holdfast.core.errors import BY_CODE, BadName, HoldError, NoSuchSession, revived
from holdfast.core.ids import checked_name, client_id, host_id, is_session_id, session_id
from holdfast.core.places import places


def test_an_id_is_its_random_bytes_and_never_a_name() -> None:
    """R01."""
    one = session_id(bytes(range(16)))
    assert is_session_id(one)
    assert one != session_id(bytes(16))
    assert {host_id(bytes(16))[:2], client_id(bytes(16))[:2]} == {"h-", "c-"}
    with pytest.raises(BadName):
        checked_name(one)
    with pytest.raises(ValueError, match="16 random bytes"):
        session_id(b"short")


@pytest.mark.parametrize("name", ["", "a b", "a@b", "-x", ".x", "x" * 65, "é", "a/b", "a\nb"])
def test_a_bad_name_is_refused_with_the_rule(name: str) -> None:
    with pytest.raises(BadName, match="use 1 to 64"):
        checked_name(name)


def test_the_runtime_folder_does_not_depend_on_the_environment_of_one_shell() -> None:
    """su, cron and ssh set XDG_RUNTIME_DIR differently; all of them must meet one host."""
    home = Path("/home/u")
    assert places(uid=7, home=home, lingers=True).runtime == Path("/run/user/7/holdfast")
    away = places(uid=7, home=home, lingers=False)
    assert str(away.runtime).endswith("holdfast-7")
    assert away.state == home / ".local/state/holdfast"
    assert places(uid=7, home=home, lingers=True, runtime="/r", state="/s").host_socket == Path("/r/host.sock")


def test_codes_are_unique_and_an_error_survives_the_wire() -> None:
    kinds = [k for k in vars(errors).values() if isinstance(k, type) and issubclass(k, HoldError)]
    assert len({k.code for k in kinds}) == len(kinds)
    assert set(BY_CODE.values()) >= set(kinds)
    told = NoSuchSession("build")
    again = revived(told.code, told.message, told.do, told.details)
    assert type(again) is NoSuchSession
    assert str(again) == str(told)
    assert again.details == {"name": "build"}


def test_an_unknown_code_still_says_what_happened() -> None:
    error = revived("from-the-future", "something new happened", "read the news", {"message": "x"})
    assert type(error) is HoldError
    assert str(error) == "something new happened; read the news"
