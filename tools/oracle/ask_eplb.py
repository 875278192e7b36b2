"""What an installed vLLM's expert load balancer makes of recorded loads (tests/golden/eplb).

  python ask_eplb.py CASES.jsonl OUT.jsonl
"""
import hashlib
import json
import traceback
from unittest import mock

import arguments
import emulated_node
import numpy as np
import torch
from vllm.distributed.eplb.policy import default
from vllm.distributed.eplb.policy.default import DefaultEplbPolicy

MASK = (1 << 64) - 1


def splitmix(state):
    """Numbers that any language makes alike."""
    while True:
        state = (state + 0x9E3779B97F4A7C15) & MASK
        z = state
        z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 & MASK
        z = (z ^ z >> 27) * 0x94D049BB133111EB & MASK
        yield z ^ z >> 31


def loads(given):
    """Token counts [layers][experts]: listed, or made from the seed where they were too many to list."""
    if "load" in given:
        return np.array(given["load"])
    layers, experts = given["layers"], given["num_logical_experts"]
    numbers = splitmix(given["load_seed"])
    one = {"splitmix": lambda u: u % 10_000_000, "splitmix_skew": lambda u: (u % 4000) ** 2,
           "splitmix_hot": lambda u: 80_000 + u % 40_000}[given["load_kind"]]
    counts = np.array([one(next(numbers)) for _ in range(layers * experts)]).reshape(layers, experts)
    if given["load_kind"] == "splitmix_hot":
        for layer in counts:
            layer[next(numbers) % experts] = min(20_000 * experts, 16_000_000)
    return np.minimum(counts, (1 << 24) - 1)


class StableNumpy:
    """numpy whose argsort keeps the order of equal values; its default one differs between processors."""

    def __getattr__(self, name):
        return getattr(np, name)

    @staticmethod
    def argsort(values, axis=-1):
        return np.argsort(values, axis=axis, kind="stable")


def rebalance(given, counts):
    old = given.get("old_global_expert_indices")
    return DefaultEplbPolicy.rebalance_experts(
        torch.from_numpy(counts.astype(np.int32)), given["num_replicas"], given["num_groups"], given["num_nodes"],
        given["num_ranks"], None if old is None else torch.tensor(old)).numpy()


def balancedness(counts, held_by_layer, ranks):
    shares = []
    for load, held in zip(counts, held_by_layer):
        copies = np.maximum(np.bincount(held, minlength=len(load)), 1)
        of_rank = (load / copies)[held].reshape(ranks, -1).sum(1)
        shares.append(of_rank.mean() / of_rank.max() if of_rank.max() > 0 else 1.0)
    return shares


def digest(array):
    return hashlib.sha256(np.ascontiguousarray(array).astype("<i4").tobytes()).hexdigest()


def answer(given):
    counts = loads(given)
    try:
        held = rebalance(given, counts)
    except Exception as error:  # noqa: BLE001 - whatever vLLM raises is its answer
        line = str(error) or traceback.extract_tb(error.__traceback__)[-1].line
        return {"ok": False, "error": f"{type(error).__name__}: {line}"}
    with mock.patch.object(default, "np", StableNumpy()):
        stable = rebalance(given, counts)
    ranks, experts = given["num_ranks"], given["num_logical_experts"]
    start = np.array([[slot % experts for slot in range(given["num_replicas"])]] * given["layers"])
    shares = balancedness(counts, held, ranks)
    return {"ok": True, "tie_sensitive": not np.array_equal(held, stable), "balancedness_mean": round(float(np.mean(shares)), 9),
            "balancedness_min": round(float(np.min(shares)), 9),
            "initial_balancedness_mean": round(float(np.mean(balancedness(counts, start, ranks))), 9),
            "replica_counts_sha256": digest([np.bincount(layer, minlength=experts) for layer in held]),
            "phy2log_stable_sha256": digest(stable)}


def main():
    options = arguments.parse(__doc__)
    emulated_node.Node.become("H100", 8)
    with open(options.cases) as cases, open(options.out, "w") as out:
        for case in map(json.loads, cases):
            json.dump({"id": case["id"], "input": case["input"], "expect": answer(case["input"])}, out)
            out.write("\n")


if __name__ == "__main__":
    main()
