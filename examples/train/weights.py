"""Reads the weights of a llama model from a GGUF file into transformers, and writes trained
weights back into a copy of that file."""

import copy

import gguf
import numpy as np
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM


def read(path):
    """The model, as one that can be trained, and its tokenizer."""
    folder, name = str(path.parent), path.name
    read = AutoModelForCausalLM.from_pretrained(folder, gguf_file=name, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=name)
    # A new model with the same weights: trainers refuse one that they take for quantised.
    config = copy.deepcopy(read.config)
    del config.quantization_config
    model = LlamaForCausalLM(config)
    model.load_state_dict(read.state_dict())
    return model, tokenizer


def write(model, original, path):
    """Writes the model with the metadata of the file that it was read from: the tokenizer, the
    chat template and the hyperparameters. Matrices are written as 16-bit floats, other
    tensors as 32-bit floats."""
    reader = gguf.GGUFReader(original)
    architecture = reader.get_field(gguf.Keys.General.ARCHITECTURE).contents()
    if architecture != "llama":
        raise SystemExit(f"{original}: the architecture is {architecture}, not llama")
    writer = gguf.GGUFWriter(path, architecture)
    for key, field in reader.fields.items():
        written_elsewhere = key.startswith("GGUF.") or key == gguf.Keys.General.ARCHITECTURE
        if written_elsewhere or key == gguf.Keys.General.FILE_TYPE:
            continue
        kinds = field.types
        element = kinds[-1] if kinds[0] == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(key, field.contents(), kinds[0], sub_type=element)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)

    heads, key_heads = model.config.num_attention_heads, model.config.num_key_value_heads
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, model.config.num_hidden_layers)
    missing = {tensor.name for tensor in reader.tensors}
    for name, tensor in model.state_dict().items():
        new_name = names.get_name(name, try_suffixes=(".weight",))
        # The output matrix, if it is the embedding once more.
        if new_name not in missing:
            continue
        missing.remove(new_name)
        values = tensor.detach().float().numpy()
        if name.endswith("q_proj.weight"):
            values = interleave(values, heads)
        elif name.endswith("k_proj.weight"):
            values = interleave(values, key_heads)
        writer.add_tensor(new_name, values.astype(np.float16 if values.ndim > 1 else np.float32))
    if missing:
        raise SystemExit(f"{original}: the model has no weights for {sorted(missing)}")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def interleave(values, heads):
    """Orders the rows of a query or key matrix as llama.cpp wants them: rotary embeddings
    turn neighbouring rows of a head together there, in transformers row i with row i + half."""
    rows, columns = values.shape
    halves = values.reshape(heads, 2, rows // heads // 2, columns)
    return halves.swapaxes(1, 2).reshape(rows, columns)
