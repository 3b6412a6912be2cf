"""`hold desktop`: the web client in a window of its own. Source: docs/desktop.md.

One window a user (single); what it opens is a reference, never state (references); how it is let in (entry); the window (window).
"""
