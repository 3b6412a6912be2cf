"""`hold demo`: a real build goes on from client to client, whatever is killed, and a verdict says what held (R79).

What is built (workload), who comes to see it (visitors), a real browser for them (chromium), the verdicts (story), and the
whole (telling).
"""
