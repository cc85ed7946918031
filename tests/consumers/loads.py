"""The datasets library loads every format, as JSON lines and as Parquet, alone
and as a folder with a card, and sees in it what the card says."""

import json
import re
import subprocess
from datetime import datetime

from datasets import Dataset, load_dataset
from huggingface_hub import DatasetCard

from exports import AMEND, DATA, FORMATS, Tally, export


def as_text(value):
    """A time as it stands in the file: JSON lines have no types, and the loader
    takes for a time what looks like one."""
    return value.isoformat() + "Z" if isinstance(value, datetime) else value


def same_either_way(name):
    """Both files of a format have the same rows, and the lines can be written as Parquet."""
    lines = Dataset.from_json(str(export(name, f"{name}.jsonl")))
    parquet = Dataset.from_parquet(str(export(name, f"{name}.parquet")))
    assert parquet.column_names == lines.column_names, (lines.column_names, parquet.column_names)
    assert len(parquet) == len(lines) > 0
    for column in parquet.column_names:
        assert parquet[column][:] == [as_text(value) for value in lines[column][:]], column
    assert len(set(map(str, parquet["metadata"][:]))) > 1, "the keys of metadata are all the same"
    lines.to_parquet(str(DATA / "again.parquet"))
    return f"{len(parquet)} rows of {len(parquet.column_names)} columns"


def plain(name):
    """Without the columns of the origin, those of the format are left."""
    all_columns = Dataset.from_json(str(export(name, "all.jsonl"))).column_names
    lines = Dataset.from_json(str(export(name, "plain.jsonl", "--columns", "plain")))
    parquet = Dataset.from_parquet(str(export(name, "plain.parquet", "--columns", "plain")))
    kept = all_columns[: all_columns.index("id")]
    assert lines.column_names == parquet.column_names == kept, (lines.column_names, kept)
    return ", ".join(kept)


def folder(name, file_format):
    """A folder with a card loads by its name alone, split by split, with the
    features and numbers the card states."""
    splits = ["--split", "train=0.8,test=0.2", "--seed", "3"]
    card = ["--card", "--licence", "cc-by-4.0", "--file-format", file_format]
    path = export(name, f"{name}-{file_format}", *splits, *card)
    loaded = load_dataset(str(path), verification_mode="all_checks")
    assert list(loaded) == ["train", "test"], loaded
    written = DatasetCard.load(path / "README.md").data
    assert written.license == "cc-by-4.0"
    stated = {split["name"]: split["num_examples"] for split in written.dataset_info["splits"]}
    assert {name: len(split) for name, split in loaded.items()} == stated
    features = [feature["name"] for feature in written.dataset_info["features"]]
    assert loaded["train"].column_names == features
    if file_format == "parquet":  # whose files alone tell the same types
        bare = Dataset.from_parquet(str(path / "train.parquet"))
        assert bare.features == loaded["train"].features, (bare.features, loaded["train"].features)
    return " + ".join(f"{name} {rows}" for name, rows in stated.items())


def prompts_apart():
    """No prompt, and no prompt that differs in a word, is in two splits."""
    path = export("trl", "apart", "--split", "train=0.5,test=0.5")
    loaded = load_dataset("json", data_files={s: str(path / f"{s}.jsonl") for s in ("train", "test")})
    question = re.compile(r"Question (\d+):")
    sources = [
        {question.search(str(prompt)).group(1) for prompt in loaded[split]["prompt"]}
        for split in ("train", "test")
    ]
    assert not sources[0] & sources[1], sources[0] & sources[1]
    return f"{len(sources[0])} and {len(sources[1])} questions"


def reviewed():
    """Columns of reviews hold who decided and when, and nothing of other rows."""
    loaded = Dataset.from_parquet(str(export("trl", "reviewed.parquet")))
    ignored = Dataset.from_parquet(str(export("trl", "ignored.parquet", "--reviews", "ignore")))
    assert loaded.features == ignored.features, (loaded.features, ignored.features)
    assert not any(ignored["reviewers"][:]) and not any(ignored["reviewed_at"][:])
    rows = [row for row in loaded if row["reviewers"]]
    assert 0 < len(rows) < len(loaded) < len(ignored), (len(rows), len(loaded), len(ignored))
    for row in loaded:
        assert bool(row["reviewers"]) == bool(row["reviewed_at"]), row
    edited = [row for row in rows if row["chosen"][0]["content"].startswith("Edited by hand")]
    assert edited, rows[0]
    return f"{len(rows)} of {len(loaded)} rows, {len(edited)} edited"


def filtered():
    """Lint finds in a filtered export nothing of what it was filtered by."""
    finding = "chatty-prefix"
    counts = []
    for out, flags in (("unfiltered", ["--allow", "all"]), ("filtered", [])):
        path = export("trl", f"{out}.parquet", *flags)
        linted = subprocess.run([AMEND, "lint", path, "--json"], capture_output=True, text=True)
        found = {one["name"]: one["count"] for one in json.loads(linted.stdout)["findings"]}
        counts.append((len(Dataset.from_parquet(str(path))), found.get(finding, 0)))
    (rows, found), (kept, left) = counts
    assert found > 0 == left and kept == rows - found, counts
    log = Dataset.from_json(str(DATA / "filtered.parquet.removed.jsonl"))
    assert len(log) == found and set(log["finding"]) == {finding}, log
    return f"{found} of {rows} rows left out"


def thoughts():
    """Thoughts are in the turns of first answers, and a variable for the chat template says
    which rows have one."""
    flags = ["--reasoning", "field"]
    lines = Dataset.from_json(str(export("sft-steps", "thinking.jsonl", *flags)))
    parquet = Dataset.from_parquet(str(export("sft-steps", "thinking.parquet", *flags)))
    for loaded in (lines, parquet):
        for row in loaded:
            thought = row["completion"][0]["reasoning_content"]
            assert bool(thought) == (row["step"] == "generate"), row
            assert row["chat_template_kwargs"] == {"enable_thinking": bool(thought)}, row
    dropped = Dataset.from_parquet(str(export("sft-steps", "dropped.parquet")))
    assert all(row == {"enable_thinking": False} for row in dropped["chat_template_kwargs"][:])
    return f"{len(parquet)} rows"


def no_licence_no_card():
    command = [AMEND, "export", DATA / "run", "--card", "--out", DATA / "unlicensed"]
    told = subprocess.run(command, capture_output=True, text=True)
    assert told.returncode == 2 and "--licence" in told.stderr, told
    return told.stderr.splitlines()[0]


tally = Tally()
for name in FORMATS:
    tally.check(f"{name}, both files", same_either_way, name)
    if name != "trajectories":
        tally.check(f"{name}, plain columns", plain, name)
    for file_format in ("parquet", "jsonl"):
        tally.check(f"{name}, folder of {file_format}", folder, name, file_format)
tally.check("splits", prompts_apart)
tally.check("reviews", reviewed)
tally.check("a filter", filtered)
tally.check("thoughts", thoughts)
tally.check("a card needs a licence", no_licence_no_card)
tally.finish()
