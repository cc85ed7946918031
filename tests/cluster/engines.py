"""Runs the examples for Ray, Daft and Spark with two amend processes, kills some in the middle,
and fails unless every row is answered exactly once and no process is left.

    engines.py ENGINE FOLDER AMEND MODEL     the engine is ray, daft or spark
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import check

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "cluster"
ROWS = 1000
BAD = "row-7"  # Its prompt is null.
PATIENCE = 120  # seconds

# The examples connect to a cluster, or start a local one with all the memory that there is.
RAY = """
import ray, runpy, sys
ray.init(num_cpus=4, object_store_memory=200_000_000, include_dashboard=False)
sys.argv = sys.argv[1:]
sys.path.insert(0, sys.argv[0].rpartition("/")[0])
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def launcher(engine: str) -> list[str]:
    """The command that runs an example of the engine on this machine."""
    if engine == "ray":
        return [sys.executable, "-c", RAY, str(EXAMPLES / "ray_data.py")]
    if engine == "daft":
        return [sys.executable, str(EXAMPLES / "daft_udf.py")]
    # A local master with two tasks at once, which repeats a failed task up to three times.
    submit = str(Path(sys.executable).with_name("spark-submit"))
    return [submit, "--master", "local[2,4]", str(EXAMPLES / "spark_pipe.py")]


def processes(amend: Path) -> list[int]:
    """The running amend processes of this test."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and (entry / "cmdline").read_bytes().startswith(bytes(amend) + b"\0"):
                found.append(int(entry.name))
        except OSError:
            pass  # It has ended.
    return found


def written(pid: int) -> int:
    """The bytes that a process has written."""
    try:
        counters = Path(f"/proc/{pid}/io").read_text().split()
        return int(counters[counters.index("wchar:") + 1])
    except (OSError, ValueError):
        return 0


def parent(pid: int) -> int:
    """The process that started another one."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def wait_for(what: str, condition: Callable[[], bool], job: subprocess.Popen | None = None) -> None:
    """Waits until the condition holds, as long as the job runs."""
    end = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > end or (job is not None and job.poll() is not None):
            sys.exit(f"{what}: it did not happen")
        time.sleep(0.02)


def kill_busy(amend: Path, job: subprocess.Popen, target: Callable[[int], int]) -> None:
    """Kills a process for an amend that has answered some rows: it or its parent."""
    busy = lambda: [pid for pid in processes(amend) if written(pid) > 50_000]
    wait_for("a busy amend", lambda: bool(busy()), job)
    victim = target(busy()[0])
    os.kill(victim, signal.SIGKILL)
    print(f"killed process {victim}", file=sys.stderr)
    # The next one that is killed is another one.
    wait_for("its end", lambda: not Path(f"/proc/{victim}/cmdline").exists() or not written(victim))


def answers(engine: str, out: Path) -> Iterator[tuple[str, str | None]]:
    """The id and the error of each answer."""
    if engine == "spark":
        for part in sorted(out.glob("part-*")):
            for line in part.read_text(encoding="utf-8").splitlines():
                record = json.loads(line)
                done = record["outcome"]["kind"] == "done"
                yield record["id"], None if done else json.dumps(record["outcome"])
    else:
        import pyarrow.parquet

        for row in pyarrow.parquet.read_table(out).to_pylist():
            assert (row["error"] is None) == (row["response"] is not None), row
            assert json.loads(row["record"]).get("id") in (None, row["id"]), row
            yield row["id"], row["error"]


def main(engine: str, folder: Path, program: str, model: str) -> None:
    amend = folder / "amend"
    amend.symlink_to(program)
    ids = [f"row-{number}" for number in range(ROWS)]
    prompts = folder / "prompts.jsonl"
    with prompts.open("w") as file:
        for id in ids:
            prompt = None if id == BAD else f"What is {id}?"
            print(json.dumps({"id": id, "prompt": prompt}), file=file)
    command = [*launcher(engine), str(prompts), str(folder / "out"), "4" if engine == "spark" else "2"]
    command += [str(amend), "-q", "-m", model, "-n", "8", "-t", "1", "-np", "4"]
    with (folder / "log").open("wb") as log:
        # Spark's scripts use another Python otherwise.
        environment = os.environ | {"PYSPARK_PYTHON": sys.executable}
        job = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
    kill_busy(amend, job, lambda pid: pid)
    if engine == "ray":
        kill_busy(amend, job, parent)
    if job.wait() != 0:
        sys.exit(f"{command} ended with {job.returncode}: see {folder / 'log'}")
    found = list(answers(engine, folder / "out"))
    check.check(ids, [id for id, _ in found])
    bad = [id for id, error in found if error is not None]
    if bad != [BAD]:
        sys.exit(f"the rows {bad} have an error, in place of {BAD}")
    wait_for("the end of all amend processes", lambda: not processes(amend))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]).resolve(), sys.argv[3], sys.argv[4])
