"""Trains a model on pairs with DPO, and writes it as a GGUF file.

    train.py MODEL.gguf PAIRS.jsonl OUT.gguf     trains
    train.py MODEL.gguf PAIRS.jsonl OUT.gguf --shuffle
                                                 the control: swaps the answers of half of the pairs
    train.py MODEL.gguf - OUT.gguf               trains nothing: the model in the same precision
"""

import argparse
import os
import pathlib
import random
import tempfile

import torch
import weights
from datasets import Dataset, load_dataset
from trl import DPOConfig, DPOTrainer


def pairs_of(path, shuffle, seed):
    rows = load_dataset("json", data_files=str(path), split="train").to_list()
    rows = [{key: row[key] for key in ("prompt", "chosen", "rejected")} for row in rows]
    random.Random(seed).shuffle(rows)
    if shuffle:
        for row in rows[: len(rows) // 2]:
            row["chosen"], row["rejected"] = row["rejected"], row["chosen"]
        random.Random(seed).shuffle(rows)
    return Dataset.from_list(rows)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("pairs")
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--shuffle", action="store_true")
    parser.add_argument("--limit", type=int, help="train on this number of pairs")
    parser.add_argument("--lr", type=float, default=5e-5)
    parser.add_argument("--layers", type=int, default=10, help="train this number of upper layers")
    parser.add_argument("--epochs", type=float, default=1)
    parser.add_argument("--seed", type=int, default=0)
    call = parser.parse_args()

    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "2")))
    model, tokenizer = weights.read(call.model)
    if call.pairs != "-":
        with tempfile.TemporaryDirectory() as folder:
            train(call, model, tokenizer, folder)
    weights.write(model, call.model, call.out)


def train(call, model, tokenizer, folder):
    # Gradients stop above the lower layers: a third of the work, and what decides the form of an
    # answer is learned in the upper ones.
    model.requires_grad_(False)
    for layer in model.model.layers[-call.layers :]:
        layer.requires_grad_(True)
    pairs = pairs_of(call.pairs, call.shuffle, call.seed)
    if call.limit:
        pairs = pairs.select(range(min(call.limit, len(pairs))))
    settings = DPOConfig(
        output_dir=folder,
        beta=0.1,
        learning_rate=call.lr,
        num_train_epochs=call.epochs,
        per_device_train_batch_size=4,
        warmup_steps=2,
        # Of the request and an answer together: few chosen answers are longer.
        max_length=128,
        # Computes the reference's log-likelihoods once, before the weights change.
        precompute_ref_log_probs=True,
        precompute_ref_batch_size=4,
        activation_checkpointing=False,
        bf16=False,
        use_cpu=True,
        logging_steps=5,
        save_strategy="no",
        report_to="none",
        seed=call.seed,
    )
    DPOTrainer(model=model, args=settings, train_dataset=pairs, processing_class=tokenizer).train()


main()
