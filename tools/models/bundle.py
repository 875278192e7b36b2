#!/usr/bin/env python3
"""Writes the bundled models: data/models/STEM.json and data/models/index.txt.

usage: bundle.py DATA_DIR add FOLDER [--id ORG/NAME] [--source TEXT] [--alias NAME ...]
       bundle.py DATA_DIR index

An entry has, beside config and hf_quant_config: `id` of the repository; `aliases`, other ids whose config.json is equal in all that is
read, and short names; `variants`, other ids with the fields in which theirs differs; `recorded_as`, names that measurements and
recordings use of it, which are no answer to a question about them.

`add` takes a folder with config.json (and hf_quant_config.json), drops what no reader uses, and writes one file.
`index` rewrites index.txt from all files.
"""
import argparse
import json
import os
import re

DROP = set("""transformers_version _name_or_path id2label label2id bad_words_ids begin_suppress_tokens suppress_tokens
chunk_size_feed_forward cross_attention_hidden_size decoder_start_token_id diversity_penalty do_sample early_stopping
encoder_no_repeat_ngram_size exponential_decay_length_penalty finetuning_task forced_bos_token_id forced_eos_token_id
length_penalty max_length min_length no_repeat_ngram_size num_beam_groups num_beams num_return_sequences output_attentions
output_hidden_states output_scores prefix problem_type pruned_heads remove_invalid_values repetition_penalty return_dict
return_dict_in_generate sep_token_id task_specific_params temperature tf_legacy_loss tokenizer_class top_k top_p torchscript
typical_p use_bfloat16 use_cache initializer_range attention_dropout hidden_dropout bos_token_id eos_token_id pad_token_id
image_grid_pinpoints initializer_factor resid_pdrop embd_pdrop attn_pdrop observer_kwargs tie_encoder_decoder _attn_implementation
boi_token_id eoi_token_id image_token_id video_token_id vision_start_token_id vision_end_token_id summary_type summary_activation
summary_first_dropout summary_proj_to_labels summary_use_proj""".split())


# An explicit null overrides the default of the model's config class.
NULL_COUNTS = {"sliding_window", "q_lora_rank"}


def trim(value):
    if isinstance(value, dict):
        return {k: trim(v) for k, v in value.items() if k not in DROP and (v is not None or k in NULL_COUNTS)}
    if isinstance(value, list):
        return [trim(v) for v in value]
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return 0.0
    return value


def shorten_names(quant):
    """Long per-layer lists keep every entry that is needed: norms and biases are never quantised, experts go as one."""
    for key in ("ignore", "modules_to_not_convert", "exclude_modules"):
        if isinstance(quant.get(key), list):
            quant[key] = [n for n in quant[key] if not re.search(r"(layernorm|_norm|\.norm\d?|\.bias|correction_bias)$", n)]
    layers = quant.get("quantized_layers")
    if isinstance(layers, dict):
        out = {}
        for name, scheme in layers.items():
            out.setdefault(re.sub(r"\.experts\.\d+\.(\w+)$", r".experts", name), scheme)
        quant["quantized_layers"] = out
        quant.pop("config_groups", None)


def write(data, stem, entry):
    path = os.path.join(data, "models", stem + ".json")
    with open(path, "w") as f:
        f.write(json.dumps(entry, separators=(",", ":")) + "\n")


def add(data, folder, hub_id, source, aliases):
    folder = folder.rstrip("/")
    config = trim(json.load(open(os.path.join(folder, "config.json"))))
    stem = os.path.basename(folder)
    entry = {"id": hub_id or stem.replace("--", "/", 1), "aliases": aliases, "source": source, "config": config}
    quant = config.get("quantization_config") or config.get("text_config", {}).get("quantization_config")
    beside = os.path.join(folder, "hf_quant_config.json")
    if quant is not None:
        shorten_names(quant)
    elif os.path.exists(beside):
        entry["hf_quant_config"] = trim(json.load(open(beside)))
        shorten_names(entry["hf_quant_config"].get("quantization", {}))
    write(data, stem, entry)


def index(data):
    rows = []
    for name in sorted(os.listdir(os.path.join(data, "models"))):
        if name.endswith(".json"):
            entry = json.load(open(os.path.join(data, "models", name)))
            others = [v["id"] for v in entry.get("variants", [])] + ["=" + name for name in entry.get("recorded_as", [])]
            rows.append("\t".join([name[:-5], entry["id"]] + entry["aliases"] + others))
    with open(os.path.join(data, "models", "index.txt"), "w") as f:
        f.write("\n".join(rows) + "\n")


def main():
    p = argparse.ArgumentParser()
    p.add_argument("data")
    p.add_argument("what", choices=["add", "index"])
    p.add_argument("folder", nargs="?")
    p.add_argument("--id")
    p.add_argument("--source", default="config.json of the model's repository")
    p.add_argument("--alias", action="append", default=[])
    a = p.parse_args()
    if a.what == "add":
        add(a.data, a.folder, a.id, a.source, a.alias)
    index(a.data)


if __name__ == "__main__":
    main()
