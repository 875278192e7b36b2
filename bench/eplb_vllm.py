"""vLLM's own expert rebalancing and ours, on the same loads in one run.

  python eplb_vllm.py EPLB_BENCH      a Python that has vLLM; EPLB_BENCH = build/release/bench/eplb_bench

Times `DefaultEplbPolicy.rebalance_experts` (vllm/distributed/eplb/policy/default.py) on the loads and sizes of
eplb_bench.cc, then runs that program; balancedness = mean over layers of (mean GPU load / max GPU load).
"""
import json
import pathlib
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "tools" / "oracle"))
import emulated_node  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402
from vllm.distributed.eplb.policy.default import DefaultEplbPolicy  # noqa: E402

LAYERS, EXPERTS, GROUPS = 58, 256, 8


def skewed_loads():
    """The same numbers as skewed_loads() of eplb_bench.cc."""
    state, counts = 1, []
    for _ in range(LAYERS * EXPERTS):
        state = (state * 6364136223846793005 + 1442695040888963407) % (1 << 64)
        counts.append((state // (1 << 33) % 4000) ** 2)
    return np.array(counts, dtype=np.int64).reshape(LAYERS, EXPERTS)


def balancedness(loads, map_, ranks):
    out = []
    for load, held in zip(loads, map_):
        copies = np.bincount(held, minlength=EXPERTS)
        of_rank = (load / copies)[held].reshape(ranks, -1).sum(1)
        out.append(of_rank.mean() / of_rank.max())
    return float(np.mean(out))


def vllm_runs(loads, spare, nodes, seconds=1.0):
    """(milliseconds of the fastest run, balancedness)"""
    given, best, spent = torch.from_numpy(loads.astype(np.int32)), float("inf"), 0.0
    while spent < seconds:
        start = time.process_time()
        map_ = DefaultEplbPolicy.rebalance_experts(given, EXPERTS + spare, GROUPS, nodes, spare, None)
        took = time.process_time() - start
        best, spent = min(best, took), spent + took
    return 1e3 * best, balancedness(loads, map_.numpy(), spare)


def main():
    torch.set_num_threads(1)
    loads = skewed_loads()
    ran = subprocess.run([sys.argv[1], "--benchmark_format=json", "--benchmark_min_time=0.5"], check=True, capture_output=True)
    ours = {run["name"]: run for run in json.loads(ran.stdout)["benchmarks"]}
    print(f"vLLM {emulated_node.vllm_version()}: {LAYERS} layers, {EXPERTS} experts, CPU ms on one thread (fastest run)")
    print(f"{'replicas and ranks':>20} {'nodes':>5} {'vLLM ms':>8} {'ours ms':>8} {'ratio':>7}   {'vLLM even':>9} {'ours even':>9} {'bound':>7}"
          f"   {'same policy in C++, ms':>22}")
    for spare in (32, 64):
        for nodes in (1, 8):
            ms, even = vllm_runs(loads, spare, nodes)
            mine, same = ours[f"ours/{spare}/{nodes}"], ours[f"vllm/{spare}/{nodes}"]
            assert abs(same["balancedness"] - even) < 1e-6, "the C++ policy is not vLLM's"
            print(f"{f'256+{spare} on {spare}':>20} {nodes:>5} {ms:>8.1f} {mine['cpu_time']:>8.2f} {ms / mine['cpu_time']:>6.1f}x"
                  f"   {even:>9.4f} {mine['balancedness']:>9.4f} {mine['bound']:>7.4f}   {same['cpu_time']:>22.2f}")


if __name__ == "__main__":
    main()
