"""A tokenizer and random models that take no time to train or to run."""

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, PreTrainedTokenizerFast

from exports import DATA, export

CHAT_TEMPLATE = """{% for turn in messages %}<|im_start|>{{ turn['role'] }}
{{ turn['content'] }}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""

SPECIAL = ["<|im_start|>", "<|im_end|>", "<pad>"]


def make_tokenizer():
    """A small byte-level tokenizer, trained on the export itself."""
    texts = export("sft", "texts.jsonl").read_text().splitlines()
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=600, special_tokens=SPECIAL, initial_alphabet=alphabet)
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token="<pad>",
        chat_template=CHAT_TEMPLATE,
    )


TOKENIZER = make_tokenizer()


def config(**further):
    return LlamaConfig(
        vocab_size=len(TOKENIZER), hidden_size=32, intermediate_size=64, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, pad_token_id=TOKENIZER.pad_token_id,
        eos_token_id=TOKENIZER.eos_token_id, **further,
    )


def stored(kind, configuration, seed=0):
    """A random model that has a place on the disk: trainers load their reference
    model from there."""
    torch.manual_seed(seed)
    path = str(DATA / "model" / f"{kind.__name__}-{seed}")
    kind(configuration).save_pretrained(path)
    return kind.from_pretrained(path)
