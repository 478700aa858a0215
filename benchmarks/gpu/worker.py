"""One section of run.py in a process of its own: prints what it found as one JSON line."""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "speed"), str(HERE.parents[1])]

MODULES = {"machine": "hardware", "losses": "methods", "waits": "methods", "training": "speed", "compiled": "speed",
           "latency": "speed", "share": "speed"}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("section", choices=MODULES)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--hold", action="store_true", help="share: begin at the full minute's third")
    given = parser.parse_args()
    module = importlib.import_module(MODULES[given.section])
    found = getattr(module, given.section)(given)
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
