"""The soak: a feed under load, a rotation a second, a fault every five, and a judge.

``python -m tests.soak`` runs it; ``--help`` says what can be asked for.
"""
