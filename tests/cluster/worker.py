"""Tests examples/cluster/amend_worker.py with processes that behave as amend may, without a model."""

import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "examples" / "cluster"))
from amend_worker import AmendWorker  # noqa: E402

# Answers rows, and dies in the middle of a line after the number in its argument.
FAKE = """
import json, sys
for row, line in enumerate(sys.stdin, 1):
    prompt = json.loads(line).get("prompt")
    outcome = {"kind": "done"} if prompt else {"kind": "invalid", "message": "no prompt"}
    record = json.dumps({"row": row, "response": prompt, "outcome": outcome})
    if row > int(sys.argv[1]):
        print(record[:9], end="", flush=True)
        sys.exit(3)
    print(record, flush=True)
"""


def worker(rows: int) -> AmendWorker:
    """A worker whose processes die after a number of rows."""
    return AmendWorker([sys.executable, "-c", FAKE, str(rows)])


class Worker(unittest.TestCase):
    def test_every_row_is_answered_in_its_place_by_one_process(self) -> None:
        amend = worker(1000)
        for batch in (range(3), range(3, 400), range(0)):
            answers = amend.answer([{"prompt": f"{row}"} for row in batch])
            self.assertEqual([answer["response"] for answer in answers], [f"{row}" for row in batch])
        self.assertEqual(amend._sent, 400)

    def test_a_new_process_gets_the_rows_without_an_answer(self) -> None:
        amend = worker(3)
        for _ in range(2):
            answers = amend.answer([{"prompt": f"{row}"} for row in range(20)])
            self.assertEqual([answer["response"] for answer in answers], [f"{row}" for row in range(20)])

    def test_a_bad_row_has_an_error_and_no_response(self) -> None:
        good, bad = worker(9).answer([{"prompt": "Tea?"}, {"prompt": None}])
        self.assertIsNone(good["error"])
        self.assertIsNone(bad["response"])
        self.assertIn("no prompt", bad["error"])

    def test_processes_that_answer_nothing_are_an_error(self) -> None:
        with self.assertRaisesRegex(RuntimeError, "exit code 3"):
            worker(0).answer([{"prompt": "Tea?"}])

    def test_wrong_flags_are_an_error_at_once(self) -> None:
        amend = AmendWorker(["sh", "-c", "exit 2"], max_losses=1_000_000)
        with self.assertRaisesRegex(RuntimeError, "exit code 2"):
            amend.answer([{"prompt": "Tea?"}])


if __name__ == "__main__":
    unittest.main(warnings="ignore")
