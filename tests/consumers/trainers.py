"""Trainers take every export: TRL's take two steps on a tiny random model, and
the code by which Axolotl, LLaMA-Factory and OpenRLHF read data reads them."""

import importlib
import json
import math
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import torch
from datasets import Dataset, load_dataset
from transformers import LlamaForCausalLM, LlamaForSequenceClassification, PrinterCallback
from trl import (
    DPOConfig, DPOTrainer, RewardConfig, RewardTrainer, SFTConfig, SFTTrainer,
)

try:
    from trl import KTOConfig, KTOTrainer
except ImportError:
    from trl.experimental.kto import KTOConfig, KTOTrainer

from exports import DATA, Tally, export
from tiny import TOKENIZER, config, stored

def language_model():
    return stored(LlamaForCausalLM, config())


def reward_model():
    return stored(LlamaForSequenceClassification, config(num_labels=1))


def train(name, file_format, model, trainer, settings):
    """Two steps on an export; the loss must be a number and a weight must move."""
    path = export(name, f"{name}.{file_format}")
    loader = {"jsonl": Dataset.from_json, "parquet": Dataset.from_parquet}[file_format]
    data = loader(str(path)).select(range(8))
    if name == "constitutional-ai":
        # As of the sets it is named after, a text beside conversations: TRL takes
        # the prompt from what both sides begin with.
        data = data.remove_columns("prompt")
    model = model()
    before = [weight.detach().clone() for weight in model.parameters()]
    settings = settings(
        output_dir=str(DATA / "out"), max_steps=2, per_device_train_batch_size=2,
        learning_rate=1e-3, report_to="none", save_strategy="no", logging_steps=1,
        disable_tqdm=True, bf16=False, use_cpu=True, max_length=1024,
    )
    trainer = trainer(model=model, args=settings, train_dataset=data, processing_class=TOKENIZER)
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    losses = [float(row["loss"]) for row in trainer.state.log_history if "loss" in row]
    assert len(losses) == 2 and all(loss == loss and abs(loss) < 100 for loss in losses), losses
    if trainer.__class__ is DPOTrainer:  # the model is its own reference at first
        assert abs(losses[0] - math.log(2)) < 1e-3, losses
    after = trainer.model.parameters()
    assert any(not torch.equal(a, b.detach()) for a, b in zip(before, after)), "nothing was learnt"
    return f"losses {losses[0]:.4f}, {losses[1]:.4f}"


def bare_packages(*packages):
    """Makes packages importable without running what they import at the top: the
    data code alone is wanted."""
    installed = Path(torch.__file__).parents[1]
    for name in packages:
        module = ModuleType(name)
        module.__path__ = [str(installed.joinpath(*name.split(".")))]
        sys.modules[name] = module


def axolotl(name, strategy):
    """Axolotl's own transformation of each row."""
    module, function = strategy.split(".")
    module = importlib.import_module(f"axolotl.prompt_strategies.dpo.{module}")
    made = getattr(module, function)({"datasets": [{}], "chat_template": "tokenizer_default"})
    transform, arguments = made if isinstance(made, tuple) else (made, None)
    data = Dataset.from_json(str(export(name, f"{name}.jsonl")))
    for row in data:
        told = transform(dict(row), **({"tokenizer": TOKENIZER} if arguments is not None else {}))
        question = row.get("question") or (row.get("messages") or row["chosen"])
        question = question if isinstance(question, str) else question[-1 if "messages" in row else 0]
        question = question if isinstance(question, str) else question["content"]
        prompt = f"<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n"
        assert told["prompt"].endswith(prompt), told
        assert ("system\nBe brief." in told["prompt"]) == ("Be brief." in str(row)), told
        for side in ("chosen", "rejected"):
            answer = row[side]
            answer = answer[1] if isinstance(answer, list) else answer
            answer = answer if isinstance(answer, str) else answer["content"]
            assert told[side] == f"{answer}<|im_end|>", told
    return f"{len(data)} rows"


def llamafactory(name):
    """LLaMA-Factory finds the data set by name and converts each row."""
    from llamafactory.data.converter import get_dataset_converter
    from llamafactory.data.parser import get_dataset_list

    folder = export(name, f"{name}-folder", "--split", "train=1")
    [entry] = json.loads((folder / "dataset_info.json").read_text())
    [attributes] = get_dataset_list([entry], str(folder))
    arguments = SimpleNamespace(media_dir="")
    convert = get_dataset_converter(attributes.formatting, attributes, arguments)
    data = load_dataset("json", data_files=str(folder / attributes.dataset_name), split="train")
    systems = histories = 0
    for row in data:
        told = convert(row)
        prompt, response = told["_prompt"], told["_response"]
        roles = [turn["role"] for turn in prompt]
        assert roles == (["user", "assistant"] * len(roles))[: len(roles)] and roles, told
        assert roles[-1] == "user" and prompt[-1]["content"].startswith("Question"), told
        assert len(response) == 2, told
        texts = [turn["content"] for turn in response]
        if attributes.ranking:
            assert all(texts) and texts[0] != texts[1], told
        else:
            assert bool(texts[0]) == row["kto_tag"] != bool(texts[1]), told
        systems += told["_system"] == "Be brief."
        histories += len(roles) > 1
    assert systems and histories, (systems, histories)
    return f"{len(data)} rows, {systems} with a system text, {histories} with earlier turns"


def openrlhf():
    """OpenRLHF's preprocessing of each row, for reward models and for DPO."""
    from openrlhf.datasets.reward_dataset import preprocess_data

    for name, prompt_key in (("openrlhf", None), ("reward", "prompt")):
        data = Dataset.from_json(str(export(name, f"{name}.jsonl")))
        for row in data:
            prompt, chosen, rejected, margin = preprocess_data(
                row, None, prompt_key, "chosen", "rejected", TOKENIZER.apply_chat_template, True
            )
            assert prompt.endswith("<|im_start|>assistant\n") and margin == 0
            for told, side in ((chosen, "chosen"), (rejected, "rejected")):
                assert told == row[side][-1]["content"] + "<|im_end|>\n", told
    return f"{len(data)} rows"


tally = Tally()
for file_format in ("jsonl", "parquet"):
    for name, model, trainer, settings in (
        ("trl", language_model, DPOTrainer, DPOConfig),
        ("trl-standard", language_model, DPOTrainer, DPOConfig),
        ("openrlhf", language_model, DPOTrainer, DPOConfig),
        ("constitutional-ai", language_model, DPOTrainer, DPOConfig),
        ("plain-preference", language_model, DPOTrainer, DPOConfig),
        ("kto", language_model, KTOTrainer, KTOConfig),
        ("sft", language_model, SFTTrainer, SFTConfig),
        ("sft-steps", language_model, SFTTrainer, SFTConfig),
        ("reward", reward_model, RewardTrainer, RewardConfig),
        ("hh-rlhf", reward_model, RewardTrainer, RewardConfig),
    ):
        title = f"{name}.{file_format}, {trainer.__name__}"
        tally.check(title, train, name, file_format, model, trainer, settings)

bare_packages(
    "axolotl.prompt_strategies", "axolotl.utils", "axolotl.utils.schemas",
    "llamafactory", "llamafactory.data", "openrlhf", "openrlhf.datasets", "openrlhf.utils",
)
for name, strategy in (
    ("axolotl-chatml-intel", "chatml.intel"),
    ("axolotl-chatml-ultra", "chatml.ultra"),
    ("axolotl-chat-template", "chat_template.default"),
):
    tally.check(f"{name}, Axolotl's {strategy}", axolotl, name, strategy)
for name in ("llamafactory-alpaca", "llamafactory-sharegpt", "llamafactory-kto"):
    tally.check(f"{name}, LLaMA-Factory's converter", llamafactory, name)
tally.check("openrlhf and reward, OpenRLHF's preprocessing", openrlhf)
tally.finish()
