"""Test what you build on Holdfast against real hosts and relays of your own, which leave nothing behind. Source: docs/testing.md.

With pytest the fixtures of ``holdfast.testing.plugin`` are there once Holdfast is installed; everything else takes the classes
here. Nothing is faked: the same daemon, keeper, holders and relay run, in folders of one test. Not here: our own tests' rigs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from holdfast.testing.hosts import HOLD, TemporaryHost, end
    from holdfast.testing.relays import TemporaryRelay

_HOMES = {
    "HOLD": "holdfast.testing.hosts",
    "TemporaryHost": "holdfast.testing.hosts",
    "TemporaryRelay": "holdfast.testing.relays",
    "end": "holdfast.testing.hosts",
}
__all__ = ["HOLD", "TemporaryHost", "TemporaryRelay", "end"]


def __getattr__(name: str) -> object:
    """Import a name when it is first used: every run of pytest loads this package with the plugin."""
    if name not in _HOMES:
        raise AttributeError(f"module 'holdfast.testing' has no attribute {name!r}")
    from importlib import import_module

    found: object = getattr(import_module(_HOMES[name]), name)
    globals()[name] = found
    return found
