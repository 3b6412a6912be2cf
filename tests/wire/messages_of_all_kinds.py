"""Strategies that make any message of the protocol, drawn from the types themselves so that none can be forgotten."""

import typing
from functools import cache
from typing import Any

import msgspec
from hypothesis import strategies as st

from holdfast.wire import messages as m

TO_HOST: tuple[type[m.Message], ...] = typing.get_args(m.ToHost)
TO_CLIENT: tuple[type[m.Message], ...] = typing.get_args(m.ToClient)
EVERY: tuple[type[m.Message], ...] = tuple(dict.fromkeys(TO_HOST + TO_CLIENT))

_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)  # strings are UTF-8: no lone surrogates
_whole = st.integers(-(1 << 63), (1 << 63) - 1)
_plain = st.recursive(
    st.none() | st.booleans() | _whole | st.floats(allow_nan=False) | _text | st.binary(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_text, inner, max_size=3),
    max_leaves=5,
)


def _of(kind: Any) -> st.SearchStrategy[Any]:
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any:
        return _plain
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return any_of(kind)
    if origin is tuple:
        if inner[-1] is Ellipsis:
            return st.lists(_of(inner[0]), max_size=3).map(tuple)
        return st.tuples(*map(_of, inner))
    if origin is dict:
        return st.dictionaries(_of(inner[0]), _of(inner[1]), max_size=3)
    if inner:  # a union; None is the only other member anywhere
        return st.one_of(*map(_of, inner))
    simple = {bool: st.booleans(), int: _whole, float: st.floats(allow_nan=False), str: _text, type(None): st.none()}
    return simple[kind] if kind in simple else st.binary(max_size=40)


@cache
def any_of(kind: type[msgspec.Struct]) -> st.SearchStrategy[Any]:
    """Return every value of one struct type, small in each dimension."""
    hints = typing.get_type_hints(kind)
    return st.builds(kind, **{field: _of(hints[field]) for field in kind.__struct_fields__})


any_to_host = st.one_of(*map(any_of, TO_HOST))
any_to_client = st.one_of(*map(any_of, TO_CLIENT))
