"""Programs in the manner of users that type checkers read and nobody runs.

``mypy`` and ``pyright``, run without arguments, take these files from pyproject.toml.
"""
