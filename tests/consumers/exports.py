"""What the checks have in common: exports of the made-up run, and a tally."""

import subprocess
import sys
from pathlib import Path

AMEND, DATA = sys.argv[1], Path(sys.argv[2])

FORMATS = [
    "trl", "trl-standard", "kto", "sft", "sft-steps", "reward", "axolotl-chatml-intel",
    "axolotl-chatml-ultra", "axolotl-chat-template", "llamafactory-alpaca",
    "llamafactory-sharegpt", "llamafactory-kto", "openrlhf", "nemo", "openai-preference", "ms-swift",
    "hh-rlhf", "constitutional-ai", "annotated-pairs", "plain-sft", "plain-preference",
    "trajectories",
]


def export(name, out, *flags):
    """Exports the run to `out` under the data folder and gives the path."""
    path = DATA / out
    command = [AMEND, "export", DATA / "run", "--format", name, "--out", path, *flags]
    subprocess.run(command, check=True, capture_output=True)
    return path


class Tally:
    """Runs checks one after another and says how each ended."""

    def __init__(self):
        self.passed = self.failed = 0

    def check(self, name, function, *arguments):
        try:
            told = function(*arguments)
        except Exception as error:  # whatever goes wrong is a finding
            self.failed += 1
            print(f"FAILED {name}: {type(error).__name__}: {error}", flush=True)
        else:
            self.passed += 1
            print(f"ok     {name}: {told}", flush=True)

    def finish(self):
        print(f"consumers: {self.passed} passed, {self.failed} failed")
        sys.exit(1 if self.failed else 0)
