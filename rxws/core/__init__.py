"""Decisions, without I/O: the standard library only, no asyncio, no clock, no randomness."""
