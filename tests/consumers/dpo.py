"""TRL's DPO loss and that of `amend score`, on exported pairs.

The policy and the reference are random Llama models in full precision. TRL has
them from transformers, amend as GGUF files with the same weights, tokens and
merges. TRL counts what its chat template puts after an answer, the end of the
turn, and amend does not: so TRL's tokenizer gets a template here that leaves it
off after the last answer. The output says by how much that would change a loss.
"""

import json
import subprocess

import gguf
import torch
from datasets import Dataset
from transformers import LlamaForCausalLM
from trl import DPOConfig, DPOTrainer

from exports import AMEND, DATA, Tally, export
from tiny import CHAT_TEMPLATE, SPECIAL, TOKENIZER, config, stored

PAIRS = 8

# Of a loss, and of a margin at β 0.1. Both sides add up in 32 bits, each in an
# order of its own.
TOLERANCE = 1e-4

# What neither rounds keys and values nor adds up in tiles.
PRECISE = ["--flash-attn", "off", "--cache-type-k", "f32", "--cache-type-v", "f32"]

# The same turns, but for the end of the last answer.
OPEN_ENDED = CHAT_TEMPLATE.replace(
    "<|im_end|>\n", "{% if turn['role'] != 'assistant' or not loop.last %}<|im_end|>\n{% endif %}"
)

TENSORS = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def random_model(seed):
    """A model whose weights are large enough that its answers differ in likelihood."""
    return stored(LlamaForCausalLM, config(initializer_range=0.3), seed).eval()


def tensor_name(name):
    """What a tensor of transformers is called in a GGUF file."""
    name = name.removesuffix(".weight")
    if name.startswith("model.layers."):
        _, _, layer, inner = name.split(".", 3)
        return f"blk.{layer}.{TENSORS[inner]}.weight"
    return f"{TENSORS[name]}.weight"


def interleaved(weights, heads):
    """Rows of a rotated projection: transformers turns each with the one half a
    head away, llama.cpp with its neighbour."""
    outputs, inputs = weights.shape
    return weights.reshape(heads, 2, outputs // heads // 2, inputs).swapaxes(1, 2).reshape(outputs, inputs)


def write_gguf(model, path):
    """The model and its tokenizer as one file."""
    settings = model.config
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("tiny random llama")
    writer.add_context_length(settings.max_position_embeddings)
    writer.add_embedding_length(settings.hidden_size)
    writer.add_block_count(settings.num_hidden_layers)
    writer.add_feed_forward_length(settings.intermediate_size)
    writer.add_head_count(settings.num_attention_heads)
    writer.add_head_count_kv(settings.num_key_value_heads)
    writer.add_rope_dimension_count(settings.hidden_size // settings.num_attention_heads)
    writer.add_rope_freq_base(settings.rope_parameters["rope_theta"])
    writer.add_layer_norm_rms_eps(settings.rms_norm_eps)

    tokens = sorted(TOKENIZER.get_vocab().items(), key=lambda entry: entry[1])
    assert [number for _, number in tokens] == list(range(len(tokens)))
    kinds = gguf.TokenType
    merges = json.loads(TOKENIZER.backend_tokenizer.to_str())["model"]["merges"]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list([text for text, _ in tokens])
    writer.add_token_types([kinds.CONTROL if text in SPECIAL else kinds.NORMAL for text, _ in tokens])
    writer.add_token_merges([" ".join(merge) for merge in merges])
    writer.add_eos_token_id(TOKENIZER.eos_token_id)
    writer.add_pad_token_id(TOKENIZER.pad_token_id)
    writer.add_add_bos_token(False)
    writer.add_chat_template(CHAT_TEMPLATE)

    heads = {"q_proj": settings.num_attention_heads, "k_proj": settings.num_key_value_heads}
    for name, weights in model.state_dict().items():
        weights = weights.to(torch.float32).numpy()
        projection = name.split(".")[-2]
        if projection in heads:
            weights = interleaved(weights, heads[projection])
        writer.add_tensor(tensor_name(name), weights)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def trl_s(pairs, policy, reference, beta, template):
    """TRL's loss of each pair, and how many tokens it counts on each side."""
    TOKENIZER.chat_template = template
    settings = DPOConfig(
        output_dir=str(DATA / "out"), beta=beta, report_to="none", use_cpu=True, bf16=False,
        max_length=None, disable_tqdm=True,
    )
    trainer = DPOTrainer(
        model=policy, ref_model=reference, args=settings, train_dataset=Dataset.from_json(str(pairs)),
        processing_class=TOKENIZER,
    )
    rows = []
    for row in trainer.train_dataset:
        with torch.no_grad():
            loss = trainer.compute_loss(trainer.model.eval(), trainer.data_collator([row]))
        rows.append((loss.item(), len(row["chosen_ids"]), len(row["rejected_ids"])))
    return rows


def amend_s(pairs, policy, reference, beta):
    """What amend says of each pair."""
    models = ["-m", policy, "--reference", reference, "--beta", str(beta)]
    command = [AMEND, "score", pairs, *models, "--json", "-t", "1", *PRECISE]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return [row for row in map(json.loads, told.splitlines()) if "loss" in row]


def losses(beta):
    """Pair by pair, both losses."""
    lines = export("trl", "scored.jsonl").read_text().splitlines()[-PAIRS:]
    pairs = DATA / "pairs.jsonl"
    pairs.write_text("".join(f"{line}\n" for line in lines))
    models = [random_model(seed) for seed in (1, 2)]
    files = [write_gguf(model, DATA / f"{seed}.gguf") for seed, model in enumerate(models)]
    found = amend_s(pairs, *files, beta)
    expected = trl_s(pairs, *models, beta, OPEN_ENDED)
    ended = trl_s(pairs, *models, beta, CHAT_TEMPLATE)
    assert len(found) == len(expected) == PAIRS, (len(found), len(expected))
    worst = by_end = 0.0
    for row, (loss, *tokens), (with_end, *more) in zip(found, expected, ended):
        counted = [row[side]["tokens"] for side in ("chosen", "rejected")]
        assert counted == tokens and more == [count + 2 for count in counted], (counted, tokens, more)
        worst = max(worst, abs(row["loss"] - loss))
        by_end = max(by_end, abs(with_end - loss))
    told = [loss for loss, *_ in expected]
    assert max(told) - min(told) > 0.1, f"pairs that tell nothing apart: {told}"
    assert worst <= TOLERANCE, f"{worst} at {told}"
    return (
        f"losses {min(told):.4f} to {max(told):.4f}, difference at most {worst:.1e};"
        f" the end of the turn would change a loss by up to {by_end:.1e}"
    )


tally = Tally()
for beta in (0.1, 0.5):
    tally.check(f"DPO loss at β {beta}", losses, beta)
tally.finish()
