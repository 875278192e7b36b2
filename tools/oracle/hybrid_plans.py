"""Random questions about models with recurrent states on common machines: does every command that `plan` emits stand?

  python hybrid_plans.py SHARDWISE [--n 105] [--seed 3]

Every command of a plan, of every replica on its own GPUs, is asked of `check`; where the Python that runs this has the vLLM of the
question's version, and the GPU is one of emulated_node.py, of that vLLM's own parser and checks too. A question without a plan must
have none: the weights, spread over all GPUs, leave no room. Exit 0 if all stand.
"""
import argparse
import collections
import contextlib
import importlib.util
import json
import random
import subprocess
import sys
import tempfile

import models as bundled_models

MODELS = ["Qwen3.5-27B", "Qwen3.5-27B-FP8", "Qwen3.5-35B-A3B", "Qwen3.5-35B-A3B-FP8", "Qwen3.5-122B-A10B-FP8", "Qwen3.5-397B-A17B-FP8",
          "qwen3-next-80b-a3b", "jamba-mini", "nvidia/NVIDIA-Nemotron-3-Nano-30B-A3B-BF16", "Qwen3.5-9B",
          "moonshotai/Kimi-Linear-48B-A3B-Instruct"]
MACHINES = ["1xH100", "8xH100", "1xH200", "8xH200", "4xA100", "2xL40S", "1xB200", "8xB200", "4xRTX-PRO-6000", "2xH100", "8xMI300X"]
VERSIONS = ["0.20.2", "0.22.0", "0.25.1", "0.28.0", "0.32.0", "0.33.0"]
LOADS = ["", "--isl 1000 --osl 200 --concurrency 32", "--isl 4000 --osl 500 --goal throughput", "--goal latency"]
EMULATED = {"A100": "A100-80"}  # where emulated_node.py has another name
ROOM = 0.5 * 2**30  # bytes: what activations and the context take at the least


def answer(shardwise, command, model, machine, version, *more):
    done = subprocess.run([shardwise, command, model, "--gpus", machine, "--vllm", version, "--json", *more], capture_output=True, text=True)
    return json.loads(done.stdout)


def flags(command):
    return command[command.index("serve") + 2:]


def own_gpus(launch, machine):
    """The machine as one command sees it."""
    seen = launch["env"].get("CUDA_VISIBLE_DEVICES")
    return machine if seen is None else f"{len(seen.split(','))}x{machine.split('x', 1)[1]}"


def refusal(checked):
    if checked.get("refusal") or checked.get("memory_refusal"):
        return checked.get("refusal") or checked["memory_refusal"]
    return None if checked.get("accepted") else "not accepted"


def has_room(shardwise, model, machine, version):
    """Whether the weights leave anything on the GPUs when each holds an equal part of them."""
    asked = answer(shardwise, "memory", model, "1x" + machine.split("x", 1)[1], version)
    stage = asked["memory"][0]
    gpus = int(machine.split("x", 1)[0])
    free = stage["kv_cache_bytes"] + stage["weights_bytes"] + stage["activation_bytes"] + stage["non_torch_bytes"] + stage["cuda_graph_bytes"]
    return stage["weights_bytes"] / gpus + ROOM < free


class Real:
    """The installed vLLM, if there is one."""

    def __init__(self):
        self.version = None
        if importlib.util.find_spec("vllm") is None:
            return
        with contextlib.redirect_stdout(sys.stderr):
            import ask_legality
            import emulated_node
        self.ask, self.node, self.version = ask_legality, emulated_node, emulated_node.vllm_version()
        self.folder = tempfile.TemporaryDirectory(prefix="hybrid-")
        self.names = bundled_models.lay_out(self.folder.name)

    def refuses(self, model, machine, version, command):
        """What it says against a command; None: nothing; "": it was not asked."""
        kind = machine.split("x", 1)[1]
        gpu, name = EMULATED.get(kind, kind), model.replace("/", "--")
        name = next((n for n in (name, "Qwen--" + name) if self.version and n in self.names), None)
        if version != self.version or gpu not in self.node.GPUS or name is None:
            return ""
        with contextlib.redirect_stdout(sys.stderr):
            found = self.ask.ask_line(flags(command), name, {"gpu": gpu, "gpus": int(machine.split("x", 1)[0])}, self.folder.name)
        return None if found["accept"] else found["message"]


def question(r):
    return r.choice(MODELS), r.choice(MACHINES), r.choice(VERSIONS), r.choice(LOADS).split()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shardwise")
    parser.add_argument("--n", type=int, default=105)
    parser.add_argument("--seed", type=int, default=3)
    options = parser.parse_args()
    r, real, count = random.Random(options.seed), Real(), collections.Counter()
    for _ in range(options.n):
        model, machine, version, load = question(r)
        asked = f"{model} on {machine}, vLLM {version} {' '.join(load)}"
        planned = answer(options.shardwise, "plan", model, machine, version, "--no-explain", "--simulate", "0", *load)
        if not planned.get("plans"):
            wrong = has_room(options.shardwise, model, machine, version)
            count["no plan, though there is room" if wrong else "no plan: the weights leave no room"] += 1
            if wrong:
                print(f"NO PLAN {asked}: {planned.get('rejected')}")
            continue
        says = []
        for launch in planned["plans"][0]["launch"]:
            gpus = own_gpus(launch, machine)
            says.append(refusal(answer(options.shardwise, "check", model, gpus, version, "--", *flags(launch["command"]))))
            theirs = real.refuses(model, gpus, version, launch["command"])
            count["commands asked of vLLM"] += theirs != ""
            says.append(theirs or None)
        says = [s for s in says if s]
        count["refused" if says else "stands"] += 1
        if says:
            print(f"REFUSED {asked}: {says[0]}")
    print(", ".join(f"{n} {name}" for name, n in sorted(count.items())))
    return 1 if count["refused"] or count["no plan, though there is room"] else 0


if __name__ == "__main__":
    sys.exit(main())
