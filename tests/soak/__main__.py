"""How is a soak run?

Knows the order of things. `python -m tests.soak --minutes 30 --seed 7`, or `make soak MINUTES=30`.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from tests.soak.run import soak


def main() -> int:
    parser = argparse.ArgumentParser(description="Run the daemon among faults, and judge it.")
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--folder", type=Path, help="for logs, the store and clips; kept")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        done = soak(options.folder or Path(folder), options.minutes * 60, options.seed)
    return 1 if done else 0


if __name__ == "__main__":
    sys.exit(main())
