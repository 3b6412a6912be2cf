"""The face for AI hosts: eight tools over MCP, as an AI operator of its own. Source: docs/mcp.md.

A client like any other: it uses the public SDK and nothing else of ours (tests/test_imports.py). `mcp`, an extra, is loaded by
``serve`` alone. Not here: who may do what, whose turn it is, what is recorded: the host decides that, for everybody.
"""
