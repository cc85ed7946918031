"""One `amend --jsonl` process that answers batches of rows, for the engines beside it."""

import json
import subprocess
import threading
from typing import Any

Answer = dict[str, str | None]


class AmendWorker:
    """Keeps an amend process. If it dies, a new one gets the rows that have no answer yet."""

    def __init__(self, command: list[str], max_losses: int = 3) -> None:
        """`command` is amend with its flags, such as ["amend", "-m", "model.gguf"].
        `max_losses` processes in succession may die without an answer before `answer` fails."""
        self._command = [*command, "--jsonl", "--unordered"]
        self._max_losses = max_losses
        self._amend: subprocess.Popen[str] | None = None
        self._sent = 0  # The rows that this process has been given.

    def answer(self, rows: list[dict[str, Any]]) -> list[Answer]:
        """Answers rows that amend can read, such as {"prompt": …}, in their order. An answer
        has `response`, `error` (the outcome of an item that failed or of a bad row, otherwise
        None) and `record`, the JSON of the whole trajectory."""
        lines = [json.dumps(row, default=str) + "\n" for row in rows]
        answers: dict[int, Answer] = {}
        losses = 0
        while waiting := [place for place in range(len(rows)) if place not in answers]:
            found = self._exchange([lines[place] for place in waiting])
            answers |= {waiting[index]: answer for index, answer in found.items()}
            if len(found) < len(waiting):
                losses = 0 if found else losses + 1
                code = self._amend.wait()
                self._amend = None
                if code == 2 or losses == self._max_losses:
                    raise RuntimeError(f"amend ended with exit code {code}; its messages are above")
        return [answers[place] for place in range(len(rows))]

    def _exchange(self, lines: list[str]) -> dict[int, Answer]:
        """Sends lines and returns the answers by the lines' indices: all, or those before amend ended."""
        if self._amend is None:
            pipe = subprocess.PIPE
            self._amend = subprocess.Popen(self._command, stdin=pipe, stdout=pipe, encoding="utf-8")
            self._sent = 0
        first = self._sent + 1  # amend numbers its rows from 1.
        self._sent += len(lines)
        # In a thread, because amend stops reading while its answers are not read.
        threading.Thread(target=_send, args=(self._amend, lines), daemon=True).start()
        answers: dict[int, Answer] = {}
        while len(answers) < len(lines) and (line := self._amend.stdout.readline()).endswith("\n"):
            record = json.loads(line)
            error = None if record["outcome"]["kind"] == "done" else json.dumps(record["outcome"])
            answers[record["row"] - first] = {"response": record["response"], "error": error, "record": line}
        return answers


def _send(amend: "subprocess.Popen[str]", lines: list[str]) -> None:
    try:
        amend.stdin.writelines(lines)
        amend.stdin.flush()
    except BrokenPipeError:
        pass  # amend has ended, which the reader notices.
