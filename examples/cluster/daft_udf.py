"""Revises the prompts of a data set with Daft: processes with one amend each.

    python daft_udf.py IN OUT PROCESSES AMEND [FLAG…]
    python daft_udf.py prompts.jsonl answers 8 amend -m model.gguf -c harmless

OUT is a folder of Parquet files with the columns of IN and `response`, `error`, `record`.
On a Ray cluster, call `daft.set_runner_ray()` first.
"""

import sys

import amend_worker
import daft
from daft import DataType, Series
from daft.pickle import cloudpickle

ANSWER = DataType.struct({name: DataType.string() for name in ("response", "error", "record")})


class Amend:
    """Daft makes one for each process."""

    def __init__(self, command: list[str]) -> None:
        self._worker = amend_worker.AmendWorker(command)

    @daft.method.batch(return_dtype=ANSWER, batch_size=256, unnest=True)
    def answer(self, prompts: Series) -> list[amend_worker.Answer]:
        return self._worker.answer([{"prompt": prompt} for prompt in prompts.to_pylist()])


def main(source: str, out: str, processes: int, command: list[str]) -> None:
    # Sends the module to other processes and machines.
    cloudpickle.register_pickle_by_value(amend_worker)
    amend = daft.cls(Amend, max_concurrency=processes, use_process=True)(command)
    rows = daft.read_json(source)
    rows.select("*", amend.answer(rows["prompt"])).write_parquet(out)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4:])
