"""Revises the prompts of a data set with Spark: `rdd.pipe` through one amend for each partition.

    spark-submit spark_pipe.py IN OUT PARTITIONS AMEND [FLAG…]
    spark-submit spark_pipe.py prompts.jsonl answers 64 amend -m model.gguf -c harmless

OUT is a folder of JSON Lines: amend's records, which carry the ids of the rows of IN.
"""

import os
import shlex
import sys

from pyspark.sql import SparkSession

# Exit code 1 means that items failed, which their records say: the task has succeeded. Any
# other code fails the task, and Spark repeats its partition. Without this check, a task whose
# amend was killed would count as complete.
SUCCESS = '"$@"; code=$?; [ $code -eq 1 ] || exit $code'


def main(source: str, out: str, partitions: int, command: list[str]) -> None:
    spark = SparkSession.builder.appName("amend").getOrCreate()
    # Lines of JSON. A table: spark.read.parquet(source).toJSON(), repartitioned.
    rows = spark.sparkContext.textFile(source, partitions)
    pipe = shlex.join(["sh", "-c", SUCCESS, "sh", *command, "--jsonl", "--unordered"])
    # A pipe has an empty environment unless one is given.
    rows.pipe(pipe, dict(os.environ), checkCode=True).saveAsTextFile(out)
    spark.stop()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4:])
