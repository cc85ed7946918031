"""Revises the prompts of a data set with Ray Data: actors with one amend each.

    python ray_data.py IN OUT ACTORS AMEND [FLAG…]
    python ray_data.py prompts.jsonl answers 8 amend -m model.gguf -c harmless

OUT is a folder of Parquet files with the columns of IN and `response`, `error`, `record`.
"""

import sys

import amend_worker
import pyarrow as pa
import ray
from ray import cloudpickle


class Amend:
    """Ray makes one for each actor, and another one if an actor dies."""

    def __init__(self, command: list[str]) -> None:
        self._worker = amend_worker.AmendWorker(command)

    def __call__(self, rows: pa.Table) -> pa.Table:
        answers = self._worker.answer(rows.to_pylist())
        for name in ("response", "error", "record"):
            rows = rows.append_column(name, pa.array([row[name] for row in answers], pa.string()))
        return rows


def main(source: str, out: str, actors: int, command: list[str]) -> None:
    # Sends the module to actors on other machines.
    cloudpickle.register_pickle_by_value(amend_worker)
    answers = ray.data.read_json(source).map_batches(
        Amend,
        fn_constructor_args=(command,),
        batch_format="pyarrow",
        batch_size=256,  # several times -np, so that amend is busy until the end of a batch
        num_cpus=1,  # with a model in GPU memory: num_gpus=1
        compute=ray.data.ActorPoolStrategy(size=actors),
    )
    answers.write_parquet(out)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4:])
