"""The web client: what is in ``app/`` runs in browsers and is served by relays as it lies here. Source: docs/web.md.

Nothing of it is Python. ``app/core`` and ``app/wire`` mirror the Python packages of those names, module by module.
"""
