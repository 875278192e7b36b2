"""The installed vLLM's plan for given KV cache specs and memory (tests/golden/kv/versions.jsonl): what its engine core makes
of what another version's models report.

  python ask_kv.py CASES.jsonl OUT.jsonl --models DIR

Asked are the cases recorded from the installed version; if there are none, those of the newest version recorded. The answers
name the version that gave them. One H100, offline entry, one pipeline stage.
"""
import contextlib
import copy
import dataclasses
import json
import os
import re
import sys
from unittest import mock

import arguments
import emulated_node
import torch
from kv_plans import kv_cache_configs, no_plan
from vllm.config import set_current_vllm_config
from vllm.engine.arg_utils import EngineArgs
from vllm.usage.usage_lib import UsageContext
from vllm.v1 import kv_cache_interface
from vllm.v1.core import kv_cache_utils

# What a spec is built from; its other fields keep this version's defaults.
FIELDS = "block_size num_kv_heads head_size head_size_v sliding_window attention_chunk_size cache_dtype_str".split()


def numbers(spans):
    for span in spans.split(","):
        first, _, last = span.partition("-")
        yield from range(int(first), int(last or first) + 1)


def build(described):
    """{layer name: spec}, in the order of the model's layers"""
    layers = {}
    for given in described:
        kind = getattr(kv_cache_interface, given["type"])
        known = {field.name for field in dataclasses.fields(kind) if field.init}
        values = {name: given[name] for name in FIELDS if name in given and name in known}
        if "use_mla" in known:  # before MLAAttentionSpec
            values["use_mla"] = given["type"].startswith("MLA")
        spec = kind(dtype=getattr(torch, given["dtype"]), **values)
        layers.update({pattern.replace("{}", str(number)): spec for pattern, spans in given["layers"].items() for number in numbers(spans)})
    by_number = lambda name: [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]  # noqa: E731
    return {name: layers[name] for name in sorted(layers, key=by_number)}


def settle(config, specs):
    """What versions settle between the specs and the plan."""
    try:
        from vllm.v1.core.single_type_kv_cache_manager import register_all_kvcache_specs
        register_all_kvcache_specs(config)
    except ImportError:
        pass
    if hasattr(config.cache_config, "kv_cache_layout"):
        from vllm.v1.attention.backends import utils
        preferred = [layout.name for layout in utils.get_supported_kv_cache_layouts([])]
        utils.resolve_kv_cache_layout(config, [preferred], specs.values())


class Log:
    """Takes the place of a module's logger: vLLM says some of the plan only there."""

    def __init__(self):
        self.lines = []

    def __getattr__(self, name):
        return lambda message, *values, **_: self.lines.append(str(message) % values if values else str(message))


def plan(config, specs, memory, log):
    try:
        configs = kv_cache_configs(config, [specs], [memory])
        whole = kv_cache_utils.generate_scheduler_kv_cache_config(configs)
        if hasattr(kv_cache_utils, "update_kv_cache_capacity"):
            kv_cache_utils.update_kv_cache_capacity(config, whole)
    except Exception as error:  # noqa: BLE001 - whatever vLLM raises is its answer
        return no_plan(error)
    found = configs[0]
    return {"num_blocks": found.num_blocks,
            "groups": [{"type": type(group.kv_cache_spec).__name__, "block_size": group.kv_cache_spec.block_size,
                        "page_size_bytes": group.kv_cache_spec.page_size_bytes, "num_layers": len(group.layer_names)}
                       for group in found.kv_cache_groups],
            "max_concurrency": kv_cache_utils.get_max_concurrency_for_kv_cache_config(config, found),
            "log": [line for line in log.lines if "KV cache size" in line or "concurrency" in line],
            "max_model_len": config.model_config.max_model_len}


def answer(given, models):
    args = dict(copy.deepcopy(given["args"]), model=os.path.join(models, given["model"]), load_format="dummy", skip_tokenizer_init=True)
    config = EngineArgs(**args).create_engine_config(UsageContext.LLM_CLASS)
    config.model_config.max_model_len = given["max_model_len"]
    config.scheduler_config.max_num_batched_tokens = given["max_num_batched_tokens"]
    config.cache_config.block_size = given["specs"][0]["block_size"]
    specs, log = build(given["specs"]), Log()
    planners = [module for name, module in sys.modules.items() if name.startswith("vllm.v1.core.kv_cache") and hasattr(module, "logger")]
    with contextlib.ExitStack() as stack:
        stack.enter_context(set_current_vllm_config(config))
        settle(config, specs)
        for module in planners:
            stack.enter_context(mock.patch.object(module, "logger", log))
        return plan(config, specs, given["available_memory"], log)


def main():
    options = arguments.parse(__doc__, models=True)
    emulated_node.Node.become("H100", 128)
    with open(options.cases) as file:
        cases = list(map(json.loads, file))
    recorded = {case["input"]["vllm_version"] for case in cases}
    newest = max(recorded, key=lambda version: [int(part) for part in version.split(".")])
    installed = emulated_node.vllm_version()
    of = installed if installed in recorded else newest
    with open(options.out, "w") as out:
        for case in cases:
            if case["input"]["vllm_version"] == of:
                given = case["input"] | {"vllm_version": installed}
                json.dump({"id": case["id"], "input": given, "expect": answer(given, options.models)}, out)
                out.write("\n")


if __name__ == "__main__":
    main()
