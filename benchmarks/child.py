"""The fresh process of one repetition: `python -m benchmarks.child NAME PARAMS DIRECTORY`."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

from benchmarks.harness import benchmark, sync_ms


def main() -> None:
    """Run the case and print its figures as the last line."""
    name, params, directory = sys.argv[1:4]
    where = Path(directory)
    probe = sync_ms(where)
    found = asyncio.run(benchmark(name).run(json.loads(params), where))
    print(json.dumps({"sync_ms": probe, **found}))


if __name__ == "__main__":
    main()
