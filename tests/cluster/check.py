"""Fails unless the ids of PROMPTS are those of RECORDS, each exactly once.

    check.py PROMPTS RECORDS     both are JSON Lines
"""

import collections
import json
import sys


def check(prompts: list[str], records: list[str]) -> None:
    """Compares ids. Exits with what is lost or repeated."""
    expected, found = collections.Counter(prompts), collections.Counter(records)
    if expected != found:
        sys.exit(f"lost: {list(expected - found)[:5]}; repeated or invented: {list(found - expected)[:5]}")
    print(f"{len(records)} items, each exactly once", file=sys.stderr)


def ids(path: str) -> list[str]:
    """The ids of the rows of a file."""
    with open(path, encoding="utf-8") as file:
        return [json.loads(line)["id"] for line in file]


if __name__ == "__main__":
    check(ids(sys.argv[1]), ids(sys.argv[2]))
