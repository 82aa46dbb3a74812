"""The process `verify/math.py` sends its batch to when it is not in a main thread: JSON in, JSON out."""

from __future__ import annotations

import json
import sys

from stepcredit.verify.math import decide


def main() -> None:
    """Read one request from standard input, write its verdicts to standard output."""
    request = json.load(sys.stdin)
    json.dump(decide(request["gold"], request["answers"], request["timeout"]), sys.stdout)


if __name__ == "__main__":
    main()
