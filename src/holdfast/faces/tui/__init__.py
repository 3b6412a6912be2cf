"""The dashboard for a terminal, `hold ui`: sessions of every host, what they show now, who has control, what waits for a person.

Textual, an extra, is loaded by ``app`` alone. Not here: attaching (the `hold attach` that it starts), anything that lasts: what
is on the screen is asked for again and again, and nothing is kept.
"""
