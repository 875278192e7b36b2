"""What an installed vLLM makes of parallel sizes: the global ranks of every process group, and the experts that every
rank holds.

  python ask_placement.py groups|experts CASES.jsonl OUT.jsonl
"""
import contextlib
import json
from types import SimpleNamespace
from unittest import mock

import arguments
import emulated_node
import torch
import vllm.config
from vllm.config import ParallelConfig
from vllm.distributed import parallel_state
from vllm.model_executor.layers.fused_moe import config as moe_config
from vllm.model_executor.layers.fused_moe import layer as moe_layer

SIZES = ["tensor_parallel_size", "pipeline_parallel_size", "prefill_context_parallel_size", "data_parallel_size",
         "decode_context_parallel_size", "enable_expert_parallel", "enable_eplb"]
GROUPS = ["_TP", "_PP", "_PCP", "_DCP", "_DP", "_EP", "_EPLB", "_ETP", "_ENGRAM_DP"]


def parallel(given, **more):
    sizes = {name: given[name] for name in SIZES if name in given}
    return ParallelConfig(distributed_executor_backend="mp", **sizes, **more)


def groups(given):
    config = parallel(given, is_moe_model=given["is_moe"])
    if config.data_parallel_size > 1 and not given["is_moe"]:
        config.reconfigure_for_independent_dp_rank()  # as an engine of a dense model does when it starts
    found = {}

    def remember(ranks, *args, group_name=None, **kwargs):
        found[group_name] = ranks
        return SimpleNamespace(rank_in_group=0)

    whole = SimpleNamespace(parallel_config=config, engram_config=None,
                            model_config=SimpleNamespace(is_moe=given["is_moe"], architecture=""))
    with contextlib.ExitStack() as stack:
        for target, name, value in [
                (parallel_state, "init_model_parallel_group", remember),
                (parallel_state, "get_world_group", lambda: SimpleNamespace(local_rank=0, device_group=None)),
                (vllm.config, "get_current_vllm_config", lambda: whole),
                (torch.distributed, "is_initialized", lambda: True),
                (torch.distributed, "get_rank", lambda *_: 0),
                (torch.distributed, "get_world_size", lambda *_: config.world_size_across_dp)]:
            stack.enter_context(mock.patch.object(target, name, value))
        for name in GROUPS:
            if hasattr(parallel_state, name):
                stack.enter_context(mock.patch.object(parallel_state, name, None))
        parallel_state.initialize_model_parallel(config.tensor_parallel_size, config.pipeline_parallel_size,
                                                 config.prefill_context_parallel_size,
                                                 config.decode_context_parallel_size, "nccl")
    return {"ok": True, "torch_world_size": config.world_size_across_dp, "groups": found}


class _Reached(Exception):
    """The layer has its expert map: nothing beyond it is asked."""


def _expert_map(config, given, rank):
    """vLLM's own MoE layer of one rank, built up to its expert map."""
    tp, pcp, dp = (given[f"{name}_parallel_size"] for name in ("tensor", "prefill_context", "data"))
    found = []
    manager = moe_layer.ExpertMapManager

    def reach(**kwargs):
        found.append(manager(**kwargs))
        raise _Reached

    whole = SimpleNamespace(
        parallel_config=config, lora_config=None, quant_config=None, scheduler_config=SimpleNamespace(max_num_batched_tokens=8192),
        model_config=SimpleNamespace(dtype=torch.bfloat16, hf_config=SimpleNamespace()),
        compilation_config=SimpleNamespace(static_forward_context={}), kernel_config=SimpleNamespace(moe_backend="auto"))
    group = lambda index, size: lambda: SimpleNamespace(rank_in_group=index, world_size=size)  # noqa: E731
    grouped = given["num_expert_group"]
    with mock.patch.multiple(moe_config, get_tensor_model_parallel_rank=lambda: rank % tp, get_pcp_group=group(rank // tp % pcp, pcp),
                             get_dp_group=group(rank // (tp * pcp), dp)), \
            mock.patch.multiple(moe_layer, ExpertMapManager=reach, get_current_vllm_config=lambda: whole):
        try:
            moe_layer.FusedMoEFactory(
                prefix="layer", num_experts=given["num_experts"], top_k=1, hidden_size=128, intermediate_size=128,
                use_grouped_topk=grouped is not None, num_expert_group=grouped, topk_group=grouped and 1,
                tp_size=tp, pcp_size=pcp, dp_size=dp, enable_eplb=config.enable_eplb,
                num_redundant_experts=given["num_redundant_experts"], is_sequence_parallel=config.use_sequence_parallel_moe)
        except _Reached:
            pass
    return found[0]


def _held(manager):
    """Global ids of a rank's experts: those that its map places."""
    placed = manager.expert_map
    return list(range(manager.global_num_experts)) if placed is None else torch.where(placed != -1)[0].tolist()


def experts(given):
    config = parallel(given, all2all_backend=given["all2all_backend"], expert_placement_strategy=given["expert_placement_strategy"],
                      eplb_config={"num_redundant_experts": given["num_redundant_experts"]})
    world = config.tensor_parallel_size * config.prefill_context_parallel_size * config.data_parallel_size
    maps = [_expert_map(config, given, rank) for rank in range(world)]
    first = maps[0]
    out = {"ok": True, "use_ep": bool(first.use_ep), "ep_size": first.ep_size, "moe_tp_size": first.tp_size,
           "effective_strategy": first.placement_strategy, "effective_all2all_backend": config.all2all_backend,
           "use_all2all_kernels": bool(first.moe_parallel_config.use_all2all_kernels),
           "sequence_parallel_moe": bool(first.moe_parallel_config.is_sequence_parallel),
           "global_num_experts": first.global_num_experts, "routing_tables": first.routing_tables is not None, "ranks": []}
    if first.routing_tables is not None:
        out["global_to_physical"] = first.routing_tables[0].tolist()
    for rank, held in enumerate(maps):
        ids = _held(held)  # written as first, step, count
        step = ids[1] - ids[0] if len(ids) > 1 else 1
        out["ranks"].append({"rank": rank, "ep_rank": held.ep_rank, "moe_tp_rank": held.tp_rank,
                             "local_num_experts": held.local_num_experts, "experts": [ids[0], step, len(ids)] if ids else []})
    return out


def main():
    options = arguments.parse(__doc__, what=["groups", "experts"])
    emulated_node.Node.become("H100", 8)
    answer = {"groups": groups, "experts": experts}[options.what]
    with open(options.cases) as cases, open(options.out, "w") as out:
        for case in map(json.loads, cases):
            try:
                expect = answer(case["input"])
            except Exception as error:  # noqa: BLE001 - whatever vLLM raises is its answer
                expect = {"ok": False, "error": type(error).__name__, "message": str(error)[:200]}
            json.dump({"id": case["id"], "input": case["input"], "expect": expect}, out)
            out.write("\n")


if __name__ == "__main__":
    main()
