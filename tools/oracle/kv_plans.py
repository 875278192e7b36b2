"""KV cache specs as recorded in tests/golden/kv, and vLLM's plan for them, in the order of EngineCore._initialize_kv_caches
up to the allocation."""
import enum
import json
import re

import torch
from vllm.config import set_current_vllm_config
from vllm.v1.core import kv_cache_utils

FIELDS = """block_size num_kv_heads head_size head_size_v sliding_window attention_chunk_size cache_dtype_str compress_ratio alignment
    shapes dtypes dtype mamba_type mamba_cache_mode num_speculative_blocks page_size_padded kv_quant_mode tokens_per_state
    state_content_bytes max_tp_shards dcp_sharded block_stride_alignment extra_retained_tokens non_causal sink_len model_version
    num_head_slots prefix_cacheable buffer_size page_size_bytes""".split()
CACHE = """block_size enable_prefix_caching mamba_block_size mamba_cache_mode mamba_page_size_padded mamba_cache_dtype
    mamba_ssm_cache_dtype cache_dtype""".split()
SCHEDULER = "max_num_batched_tokens max_num_seqs disable_hybrid_kv_cache_manager enable_chunked_prefill".split()


def resolved(config):
    return {name: getattr(holder, name) for holder, names in ((config.cache_config, CACHE), (config.scheduler_config, SCHEDULER))
            for name in names} | {
        "max_model_len": config.model_config.max_model_len, "dtype": plain(config.model_config.dtype),
        "quantization": config.model_config.quantization, "enable_expert_parallel": config.parallel_config.enable_expert_parallel,
        "num_prefill_lookahead_tokens": config.num_prefill_lookahead_tokens}


def plain(value):
    if isinstance(value, torch.dtype):
        return str(value).removeprefix("torch.")
    if isinstance(value, (tuple, list)):
        return [plain(part) for part in value]
    if isinstance(value, enum.Enum):
        return value.name if isinstance(value, int) else str(value)
    return value if isinstance(value, (int, float, str)) else str(value)


def spans(numbers):
    """[0, 1, 2, 5] -> "0-2,5" """
    parts = []
    for number in sorted(numbers):
        if parts and parts[-1][1] == number - 1:
            parts[-1][1] = number
        else:
            parts.append([number, number])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in parts)


def described(specs):
    """Layers with equal specs together, named by their pattern."""
    same = {}
    for name, spec in specs.items():
        fields = {field: plain(getattr(spec, field)) for field in FIELDS if getattr(spec, field, None) is not None}
        layers = same.setdefault(json.dumps({"type": type(spec).__name__} | fields), {})
        number = re.search(r"\.(\d+)\.", name)
        pattern = name[:number.start(1)] + "{}" + name[number.end(1):] if number else name
        layers.setdefault(pattern, []).extend([int(number[1])] if number else [])
    return [json.loads(spec) | {"layers": {pattern: spans(numbers) for pattern, numbers in layers.items()}}
            for spec, layers in same.items()]


def no_plan(error):
    message = str(error)
    longest = re.search(r"estimated maximum model length is (\d+)", message)
    reason = re.split(r"\s*(?:Try|Please) ", message)[0]  # without the advice
    return {"error": type(error).__name__, "message": reason.strip()[:400]} | (
        {"estimated_max_model_len": int(longest[1])} if longest else {})


def kv_cache_configs(config, workers, memory):
    """One KVCacheConfig for each worker."""
    try:
        from vllm.v1.core import kv_cache_planning  # from 0.33
    except ImportError:
        return kv_cache_utils.get_kv_cache_configs(config, workers, memory)
    return kv_cache_planning.get_kv_cache_configs(config, workers, memory, kv_cache_planning.get_global_kv_cache_groups(config, workers))


class Planner:
    def __init__(self, config, stages, layouts):
        from vllm.v1.attention.backends.utils import resolve_kv_cache_layout  # older versions have neither
        from vllm.v1.core.single_type_kv_cache_manager import register_all_kvcache_specs
        parallel = config.parallel_config
        self.config, self.stages = config, stages
        self.ranks = parallel.tensor_parallel_size * parallel.prefill_context_parallel_size  # of a stage: all report the same
        self.workers = [specs for specs in stages for _ in range(self.ranks)]
        register_all_kvcache_specs(config)
        every = [spec for specs in self.workers for spec in specs.values()]
        if any(getattr(spec, "non_causal", False) for spec in every):
            config.scheduler_config.enable_chunked_prefill = config.cache_config.enable_prefix_caching = False
        self.layout = resolve_kv_cache_layout(config, [list(layouts) for _ in self.workers], every).name
        self.before = [(holder, dict(vars(holder))) for holder in (config.cache_config, config.model_config)]

    def plan(self, stage_memory):
        for holder, values in self.before:  # planning writes into the configuration
            vars(holder).clear()
            vars(holder).update(values)
        with set_current_vllm_config(self.config):
            try:
                configs = kv_cache_configs(self.config, [dict(specs) for specs in self.workers],
                                           [memory for memory in stage_memory for _ in range(self.ranks)])
            except Exception as error:  # noqa: BLE001 - whatever vLLM raises is its answer
                return no_plan(error)
            return self._described(configs)

    def _described(self, configs):
        config, cache = self.config, self.config.cache_config
        whole = kv_cache_utils.generate_scheduler_kv_cache_config(configs)
        cache.num_gpu_blocks = whole.num_blocks
        plan = {"num_blocks": whole.num_blocks}
        if whole.kv_cache_groups:
            specs = [group.kv_cache_spec for group in whole.kv_cache_groups]
            cache.block_size = min(spec.block_size for spec in [spec for spec in specs if spec.prefix_cacheable] or specs)
            kv_cache_utils.update_kv_cache_capacity(config, whole)
            tokens, times = cache.kv_cache_size_tokens, cache.kv_cache_max_concurrency
            plan |= {"kv_cache_size_tokens": tokens, "max_concurrency": times,
                     "log": f"GPU KV cache size: {tokens:,} tokens, Maximum concurrency for {config.model_config.max_model_len:,} "
                            f"tokens per request: {times:.2f}x"}
        plan |= {"max_model_len": config.model_config.max_model_len, "block_size": cache.block_size}
        try:
            config.validate_block_size()
            plan["scheduler_block_size"], plan["hash_block_size"] = kv_cache_utils.resolve_kv_cache_block_sizes(whole, config)
        except Exception as error:  # noqa: BLE001
            plan["block_size_error"] = f"{type(error).__name__}: {str(error)[:200]}"
        stages = configs[::self.ranks]
        plan["groups"] = [{"type": type(group.kv_cache_spec).__name__, "block_size": group.kv_cache_spec.block_size,
                           "page_size_bytes": group.kv_cache_spec.page_size_bytes,
                           "num_layers": [len(stage.kv_cache_groups[index].layer_names) for stage in stages]}
                          for index, group in enumerate(configs[0].kv_cache_groups)]
        plan["stages"] = [{"allocated_bytes": max((tensor.size for tensor in stage.kv_cache_tensors), default=0),
                           "tensors": len(stage.kv_cache_tensors), "kv_tp_replicas": plain(stage.kv_tp_replicas)} for stage in stages]
        return plan
