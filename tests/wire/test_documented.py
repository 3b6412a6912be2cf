"""docs/wire.md and the code say the same: every tag and field stands in both."""

import re
from pathlib import Path

import msgspec
import pytest

from holdfast.wire import messages as m
from tests.wire.messages_of_all_kinds import EVERY

WIRE = (Path(__file__).resolve().parents[2] / "docs" / "wire.md").read_text()
# `tag` (field, field) for messages; Name (*array*: field, field) for parts
SAID = dict(re.findall(r"`([a-z-]+)` \(([a-z_,\s]+)\)", WIRE))
SAID_PARTS = {
    name: (form, fields) for name, form, fields in re.findall(r"^(\w+) \(\*(array|map)\*: ([^)]+)\)", WIRE, re.M)
}
PARTS = [
    kind
    for kind in vars(m).values()
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct) and not issubclass(kind, m.Message)
]


def words(fields: str) -> tuple[str, ...]:
    return tuple(re.findall(r"\w+", fields))


@pytest.mark.parametrize("kind", EVERY, ids=lambda kind: kind.__struct_config__.tag)
def test_every_message_is_documented_with_its_fields_in_order(kind: type[m.Message]) -> None:
    """Promise W7."""
    assert words(SAID.get(str(kind.__struct_config__.tag), "")) == kind.__struct_fields__


@pytest.mark.parametrize("kind", PARTS, ids=lambda kind: kind.__name__)
def test_every_part_is_documented_with_its_fields_in_order(kind: type[msgspec.Struct]) -> None:
    form, fields = SAID_PARTS.get(kind.__name__, ("", ""))
    assert words(fields) == kind.__struct_fields__
    assert form == ("array" if kind.__struct_config__.array_like else "map")


def test_no_message_is_documented_that_does_not_exist() -> None:
    assert set(SAID) == {str(kind.__struct_config__.tag) for kind in EVERY}
