"""Random commands asked of shardwise and of an installed vLLM: do they agree on verdict and resolved values?

  python differential.py SHARDWISE [--n 300] [--seed 1] [--models 40] [--keep DIR]

Run by the Python of the environment that holds vLLM (no GPU needed). Half of the commands are changed in one or two
places after they were drawn, so that most checks are met. Only the arguments' checks are compared: what vLLM refuses
later, when it starts engines, counts as accepted. Exit 0 if all agree.
"""
import argparse
import collections
import contextlib
import importlib.util
import json
import pathlib
import random
import re
import subprocess
import sys
import tempfile

import compare
import models as bundled_models


def sizes(r, gpus):
    """Sizes that may work, and some that may not."""
    tp = r.choice([1, 1, 2, 4, 8, r.randint(1, 16)])
    args = {"tensor_parallel_size": tp}
    if r.random() < 0.25:
        args["pipeline_parallel_size"] = r.randint(1, 5)
    if r.random() < 0.35:
        args["data_parallel_size"] = r.choice([2, 4, max(1, gpus // tp), r.randint(0, 12)])
    if r.random() < 0.2:
        args["decode_context_parallel_size"] = r.randint(1, 8)
    if r.random() < 0.05:
        args["prefill_context_parallel_size"] = 2
    return args


OPTIONS = {
    "max_model_len": lambda r: r.choice([-1, 1, 1000, 4096, 32768, 131072, 1 << 20]),
    "max_num_batched_tokens": lambda r: r.choice([1, 100, 2048, 8192, 65536]),
    "max_num_seqs": lambda r: r.choice([1, 7, 128, 1024, 4096]),
    "kv_cache_dtype": lambda r: r.choice(["auto", "fp8", "fp8_e4m3", "fp8_e5m2", "bfloat16"]),
    "dtype": lambda r: r.choice(["auto", "bfloat16", "float16", "float32"]),
    "quantization": lambda r: r.choice(["fp8", "awq", "gptq", "compressed-tensors", "modelopt"]),
    "block_size": lambda r: r.choice([16, 32, 64, 128, 1]),
    "gpu_memory_utilization": lambda r: r.choice([0.5, 0.95, 1.0, 1.5]),
    "enforce_eager": lambda r: True,
    "enable_chunked_prefill": lambda r: r.random() < 0.3,
    "enable_prefix_caching": lambda r: r.random() < 0.5,
    "async_scheduling": lambda r: r.random() < 0.5,
    "enable_expert_parallel": lambda r: True,
    "enable_eplb": lambda r: True,
    "eplb_config": lambda r: {"num_redundant_experts": r.choice([0, 1, 8, 32])},
    "expert_placement_strategy": lambda r: r.choice(["linear", "round_robin"]),
    "all2all_backend": lambda r: r.choice(["allgather_reducescatter", "deepep_low_latency", "deepep_high_throughput", "nixl_ep"]),
    "distributed_executor_backend": lambda r: r.choice(["mp", "uni", "ray"]),
    "data_parallel_backend": lambda r: r.choice(["mp", "ray"]),
    "data_parallel_size_local": lambda r: r.randint(0, 8),
    "data_parallel_rank": lambda r: r.randint(0, 8),
    "data_parallel_start_rank": lambda r: r.randint(0, 8),
    "data_parallel_hybrid_lb": lambda r: True,
    "data_parallel_external_lb": lambda r: True,
    "nnodes": lambda r: r.randint(2, 4),
    "node_rank": lambda r: r.randint(0, 3),
    "headless": lambda r: True,
    "api_server_count": lambda r: r.randint(1, 4),
    "cp_kv_cache_interleave_size": lambda r: r.choice([1, 16, 24]),
    "enable_lora": lambda r: True,
    "max_loras": lambda r: r.choice([1, 4, 8]),
    "max_cpu_loras": lambda r: r.choice([2, 4, 16]),
    "max_lora_rank": lambda r: r.choice([8, 64, 320]),
    "fully_sharded_loras": lambda r: True,
    "cpu_offload_gb": lambda r: r.choice([0, 4, 24.5]),
    "offload_backend": lambda r: r.choice(["auto", "uva", "prefetch"]),
    "offload_group_size": lambda r: r.choice([0, 1, 2, 8]),
    "offload_num_in_group": lambda r: r.choice([1, 2, 4]),
    "offload_prefetch_step": lambda r: r.choice([0, 1, 2]),
    "speculative_config": lambda r: r.choice([{"method": "ngram", "num_speculative_tokens": 4, "prompt_lookup_max": 4},
                                              {"method": "mtp", "num_speculative_tokens": r.randint(1, 3)}]),
}
SERVE_ONLY = ["headless", "api_server_count"]


def draw(r, names):
    gpus = r.choice([1, 2, 4, 8, 8, 8, 16])
    given = {"mode": r.choice(["serve", "serve", "serve", "offline"]), "model": r.choice(names),
             "node": {"gpu": r.choice(["H100", "H100", "H200", "B200", "A100-80", "A100-40", "L40S"]), "gpus": gpus,
                      "ray_installed": r.random() < 0.3},
             "args": sizes(r, gpus), "env": {}}
    args = given["args"]
    if r.random() < 0.5:  # plausible: the product fits the node
        while args.get("tensor_parallel_size", 1) * args.get("pipeline_parallel_size", 1) > gpus:
            args["tensor_parallel_size"] = max(1, args["tensor_parallel_size"] // 2)
            args.pop("pipeline_parallel_size", None)
    for _ in range(r.choice([0, 1, 1, 2, 3, 4])):
        name = r.choice(list(OPTIONS))
        args[name] = OPTIONS[name](r)
    if given["mode"] == "offline":
        for name in SERVE_ONLY:
            args.pop(name, None)
    return given


def readable(r, ask, folder, names, count):
    """Models that this vLLM can read: its Transformers may not know the newest."""
    found, left_out = [], []
    for name in r.sample(names, len(names)):
        if len(found) == count:
            break
        plain = {"mode": "offline", "model": name, "node": {"gpu": "B200", "gpus": 8}, "args": {}}
        (found if ask(plain, folder).get("accept") else left_out).append(name)
    return sorted(found), left_out


def rule_places(shardwise):
    """rule -> the vLLM file and function that shardwise names for it."""
    cache = {}

    def place(rule):
        if rule not in cache:
            text = subprocess.run([shardwise, "rules", rule], capture_output=True, text=True).stdout
            found = re.search(r"^\s+vllm/(\S+:\S+)", text, re.M)
            cache[rule] = found.group(1) if found else None
        return cache[rule]
    return place


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shardwise")
    parser.add_argument("--n", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--models", type=int, default=40, help="how many of the bundled models to draw from")
    parser.add_argument("--keep", help="directory that keeps inputs, answers and predictions")
    options = parser.parse_args()
    if importlib.util.find_spec("vllm") is None:
        print("differential: SKIPPED, no vLLM in this Python (set VLLM_PYTHON to one that has it)")
        return 0
    if options.keep:
        pathlib.Path(options.keep).mkdir(parents=True, exist_ok=True)
        return ask(options, pathlib.Path(options.keep))
    with tempfile.TemporaryDirectory(prefix="differential-") as work:
        return ask(options, pathlib.Path(work))


def ask(options, work):
    """Exit status: 1 if any answer differs."""
    with contextlib.redirect_stdout(sys.stderr):
        import ask_legality
        import emulated_node
    folder = work / "models"
    names = sorted(bundled_models.lay_out(folder))
    r = random.Random(options.seed)
    with contextlib.redirect_stdout(sys.stderr):
        names, left_out = readable(r, ask_legality.ask, str(folder), names, options.models)
    version = emulated_node.vllm_version()
    print(f"vLLM {version}, {len(names)} models" + (f"; it cannot read {', '.join(sorted(left_out))}" if left_out else ""))
    cases = [{"id": f"seed{options.seed}-{i:05d}", "input": draw(r, names) | {"vllm_version": version}} for i in range(options.n)]
    asked = work / "inputs.jsonl"
    asked.write_text("".join(json.dumps(case) + "\n" for case in cases))
    predictions = work / "predictions.jsonl"
    subprocess.run([options.shardwise, "verify", "legality", str(asked), "--models", str(folder), "--predictions", str(predictions)],
                   stdout=subprocess.DEVNULL, check=False)
    ours = {p["id"]: p["predict"] for p in map(json.loads, predictions.read_text().splitlines())}
    place = rule_places(options.shardwise)
    count, fields = collections.Counter(), collections.Counter()
    with open(work / "answers.jsonl", "w") as out:
        for case in cases:
            with contextlib.redirect_stdout(sys.stderr):
                theirs = ask_legality.ask(case["input"], str(folder))
            out.write(json.dumps(case | {"expect": theirs}, default=str) + "\n")
            found = compare.differences(ours[case["id"]], theirs, whole=False)
            count["accepted" if theirs["accept"] else "refused"] += 1
            count["differ"] += bool(found)
            fields.update(name for name, _, _ in found)
            if found:
                print(f"  {case['id']} {json.dumps(case['input'])}")
                for name, mine, real in found[:4]:
                    print(f"    {name}: shardwise {mine!r}, vLLM {real!r}")
                if not theirs["accept"]:
                    print(f"    vLLM, {theirs['where']}: {theirs['message'][:160]}")
                elif not ours[case["id"]]["accept"]:
                    print(f"    shardwise: {ours[case['id']].get('rule')}")
            elif not theirs["accept"]:
                mine = ours[case["id"]].get("rule")
                same = place(mine) == theirs["where"] or mine.startswith("field_range:") and theirs["error"] == "ValidationError"
                count["same place"] += same
                if not same:
                    print(f"  (both refuse {case['id']}: shardwise {mine} at {place(mine)}, vLLM at {theirs['where']}: {theirs['message'][:100]})")
    agree = options.n - count["differ"]
    print(f"{agree} of {options.n} agree in verdict and values ({count['accepted']} accepted, {count['refused']} refused by vLLM, "
          f"{count['same place']} of them at the place that shardwise names)"
          + (": " + ", ".join(f"{name} {n}" for name, n in fields.most_common()) if fields else ""))
    return 1 if count["differ"] else 0


if __name__ == "__main__":
    sys.exit(main())
