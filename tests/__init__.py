"""The tests of rxws, and the programs that measure it: ``python -m tests.NAME``."""
