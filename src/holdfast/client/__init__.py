"""How you operate: the async SDK (sdk), the raw attach path (terminal), and what both need to reach a host.

Two speeds live here. `lean`, `dial`, `line`, `tty`, `prefix`, `replies` and `terminal` import neither asyncio, typing
nor msgspec, because `hold attach` has to paint within 60 ms of a cold start and those three cost 45. The rest may
import what it likes. Names of the SDK are re-exported by `holdfast` lazily.
"""
