"""``python -m rxws``: the command line."""

from __future__ import annotations

import sys

from rxws.cli import main

sys.exit(main())
