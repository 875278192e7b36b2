#!/usr/bin/env python3
"""Writes data/model_defaults.json: what a Hugging Face configuration class supplies when config.json leaves a field out.

usage: extract_defaults.py TRANSFORMERS_DIR [VLLM_DIR] > data/model_defaults.json

Reads the class bodies only (annotated fields and __init__ defaults of plain values); nothing is imported or executed.
"""
import ast
import glob
import json
import sys

KEEP = set("""vocab_size hidden_size num_hidden_layers num_attention_heads num_key_value_heads head_dim intermediate_size
max_position_embeddings tie_word_embeddings attention_bias mlp_bias use_bias bias qkv_bias sliding_window use_sliding_window
max_window_layers sliding_window_pattern layer_types num_experts num_local_experts n_routed_experts num_experts_per_tok
moe_intermediate_size n_shared_experts shared_expert_intermediate_size first_k_dense_replace moe_layer_freq decoder_sparse_step
n_group topk_group q_lora_rank kv_lora_rank qk_rope_head_dim qk_nope_head_dim v_head_dim n_embd n_head n_layer n_inner
n_positions n_ctx multi_query new_decoder_architecture parallel_attn num_kv_heads alibi use_qk_norm qk_norm
attn_layer_period attn_layer_offset expert_layer_period expert_layer_offset mamba_d_state mamba_d_conv mamba_expand mamba_dt_rank
mamba_conv_bias mamba_proj_bias mamba_n_heads mamba_d_head mamba_n_groups state_size expand conv_kernel n_groups num_heads time_step_rank use_conv_bias
linear_conv_kernel_dim linear_key_head_dim linear_value_head_dim linear_num_key_heads linear_num_value_heads full_attention_interval
shared_intermediate_size interleave_moe_layer_step intermediate_size_mlp attention_chunk_size attention_k_eq_v
global_head_dim num_global_key_value_heads enable_moe_block top_k_experts hidden_size_per_layer_input vocab_size_per_layer_input
num_kv_shared_layers index_n_heads index_head_dim index_topk num_nextn_predict_layers mtp_num_hidden_layers rotary_dim partial_rotary_factor
ffn_dim word_embed_proj_dim do_layer_norm_before num_ln_in_parallel_attn rotary_pct use_parallel_residual attention_multiplier
depth embed_dim num_heads in_channels patch_size spatial_merge_size temporal_patch_size out_hidden_size num_position_embeddings image_size projection_dim
num_channels mlp_ratio vision_use_head attn_output_gate ssm_state_size mamba_head_dim mamba_num_heads expand_ratio
shared_expert_intermediate_size rope_theta original_max_position_embeddings sliding_window_size n_shared_experts norm_topk_prob
original_context_length mtp_use_dedicated_embeddings rope_local_base_freq topk_method scoring_func output_gate_type hidden_act hidden_activation""".split())

FAMILIES = ("afmoe apertus arcee aria axk1 bamba bloom chatglm cohere cohere2 cwm deepseek_v2 deepseek_v3 deepseek_v32 deepseek_v4 dots1 ernie4_5 "
            "exaone4 exaone_moe falcon falcon_h1 falcon_mamba flex_olmo gemma gemma2 gemma3 gemma3n gemma4 glm glm4 glm4_moe glm4_moe_lite glm4v "
            "glm4v_moe glm_moe_dsa gpt2 gpt_bigcode gpt_neox gpt_oss gptj granite granitemoe granitemoehybrid granitemoeshared helium "
            "hunyuan_v1_dense hunyuan_v1_moe hy_v3 internvl_vision jais2 jamba kimi_k25 kimi_linear laguna lfm2 lfm2_moe llama llama4 "
            "longcat_flash mamba mamba2 mimo_v2_flash minicpm3 minimax minimax_m2 minimax_m3 ministral ministral3 mistral mistral4 mixtral mllama "
            "moonvit nemotron nemotron_h olmo olmo2 olmo3 olmo_hybrid olmoe opt ovis2 paligemma phi phi3 phimoe phi4_multimodal pixtral qwen2 "
            "qwen2_moe qwen2_vl qwen2_5_vl qwen3 qwen3_5 qwen3_5_moe qwen3_moe qwen3_next qwen3_vl qwen3_vl_moe seed_oss siglip_vision_model "
            "clip_vision_model smollm3 solar_open stablelm starcoder2 step3p5 step3_text step3_vision_encoder vaultgemma youtu zamba zamba2").split()


def wanted(model_type):
    base = model_type
    for suffix in ("_text_model", "_vision_model", "_text", "_vision"):
        if base.endswith(suffix) and base[: -len(suffix)] in FAMILIES:
            return True
    return base in FAMILIES


def literal(node):
    try:
        return True, ast.literal_eval(node)
    except ValueError:
        return False, None

def read_class(node):
    found, model_type = {}, None
    for item in node.body:
        target = value = None
        if isinstance(item, ast.AnnAssign) and item.value is not None:
            target, value = item.target.id, item.value
        elif isinstance(item, ast.Assign) and isinstance(item.targets[0], ast.Name):
            target, value = item.targets[0].id, item.value
        if target == "model_type":
            model_type = literal(value)[1]
        elif target in KEEP:
            ok, v = literal(value)
            if ok:
                found[target] = v
        if isinstance(item, ast.FunctionDef) and item.name == "__init__":
            args = item.args.args[-len(item.args.defaults):] if item.args.defaults else []
            for arg, default in zip(args, item.args.defaults):
                ok, v = literal(default)
                if ok and arg.arg in KEEP:
                    found.setdefault(arg.arg, v)
    return model_type, found

def main():
    out = {}
    files = sorted(glob.glob(sys.argv[1] + "/models/*/configuration_*.py"))
    if len(sys.argv) > 2:
        files += sorted(glob.glob(sys.argv[2] + "/transformers_utils/configs/*.py"))
    for path in files:
        classes = {}
        for node in ast.parse(open(path).read()).body:
            if not isinstance(node, ast.ClassDef):
                continue
            model_type, found = read_class(node)
            for base in node.bases:  # a class that extends one of the same file inherits its defaults
                if isinstance(base, ast.Name) and base.id in classes:
                    found = {**classes[base.id], **found}
            classes[node.name] = found
            found = {k: v for k, v in found.items() if v is not None}
            if model_type and wanted(model_type) and ("num_hidden_layers" in found or "n_layer" in found or "hidden_size" in found or "depth" in found):
                out.setdefault(model_type, found)
    print("{")
    rows = [f'{json.dumps(k)}: {json.dumps(out[k], separators=(",", ":"))}' for k in sorted(out)]
    print(",\n".join(rows))
    print("}")

main()
