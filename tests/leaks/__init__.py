"""Nothing is left behind, however often: the long forms, ``python -m tests.leaks``."""
