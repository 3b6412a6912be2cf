"""Holdfast: a running execution as an object that outlives every client, the host daemon and the relay.

The public SDK lives in ``holdfast.client``; its names are re-exported here lazily, because the keeper and every holder
import this package too and must not pay for what they never use.
"""

__version__ = "0.1.0"
