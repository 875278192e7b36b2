#!/usr/bin/env python3
"""Every yes or no, and every number, that an answer gives about another question is asked of that question and agrees.

Asks the questions below, collects what each answer says about other questions (what would flip the choice, the steps
from the simplest plan, layouts that do not stand, the nearest changes, what-if rows, better commands, longest lengths,
highest rates), asks those, and compares.

Usage: asked_again.py BINARY [WORD...]     only questions that hold every WORD
"""
import concurrent.futures
import functools
import json
import math
import os
import pathlib
import re
import shlex
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent

QUESTIONS = """
plan Llama-3.1-70B --gpus 8xH100 --isl 2000 --osl 300
plan Llama-3.1-8B --gpus 2xH100 --goal latency
plan Qwen3-30B-A3B --gpus 4xH100 --concurrency 64 --goal throughput
plan Qwen3-32B --gpus 4xRTX4090 --rate 0.5
plan Qwen3-235B-A22B --gpus 2x8xH200 --concurrency 16
plan Llama-3.1-8B --gpus 2xA100 --tpot 12ms
plan Llama-3.1-405B --gpus 8xH100
plan Llama-3.1-70B --gpus 8xH100 --rate 100
plan Llama-3.1-70B --gpus 2xL40S
plan DeepSeek-V3 --gpus 8xL40S
plan DeepSeek-V3 --gpus 2x8xL40S
plan gpt-oss-120b --gpus 1xA100-80G --max-model-len 131072
plan Llama-3.1-70B --gpus 2xH100 --tpot 10ms
plan Llama-3.1-70B --gpus 8xH100 --concurrency 64 --tpot p99<20ms
plan Qwen3-32B --gpus 8xH100 --rate 10 --ttft p99<100ms
check Qwen3-32B --gpus 8xH100 -- -tp 8
check Qwen3-30B-A3B --gpus 4xH100 --goal throughput -- -tp 2 -dp 2 --enable-expert-parallel
check Llama-3.1-70B --gpus 4xH100 --concurrency 16 -- -tp 2 -pp 2 --enforce-eager --max-num-seqs 32
check gpt-oss-120b --gpus 1xH100
check DeepSeek-V3 --gpus 8xH200 --concurrency 64 -- -tp 8
memory Qwen3-32B --gpus 4xRTX4090 -- -pp 4
memory DeepSeek-V3 --gpus 2x8xH200 -- -tp 8 -dp 2 --enable-expert-parallel
memory gpt-oss-120b --gpus 1xH100
memory Qwen3-32B --gpus 1xH100 -- --max-model-len 24000 --gpu-memory-utilization 0.9
memory Qwen3.5-35B-A3B --gpus 2xH100 -- -tp 2
memory Llama-3.1-8B --gpus 1xH100 -- --gpu-memory-utilization 0.995
simulate Llama-3.1-8B --gpus 1xH100 --isl 1000 --osl 100 --ttft p99<1s --max-rate
place expert_loads.json --ranks 8 --redundant-experts 3 --policy eplb,ours
""".strip().split("\n")

PARTS = {  # of a layout: the text's letters, vLLM's flag
    "TP": "--tensor-parallel-size", "PP": "--pipeline-parallel-size", "PCP": "--prefill-context-parallel-size",
    "DP": "--data-parallel-size", "DCP": "--decode-context-parallel-size",
}
SHORT = {"-tp": "--tensor-parallel-size", "-pp": "--pipeline-parallel-size", "-dp": "--data-parallel-size"}


def checkpoint(kind, form, weights, inputs=None):
    """--hf-overrides that store the linear layers in another way."""
    group = {"targets": ["Linear"], "weights": {"type": kind, "symmetric": True, "dynamic": False, **weights}}
    if inputs:
        group["input_activations"] = {"type": kind, "symmetric": True, "dynamic": True, **inputs}
    return {"quantization_config": {"quant_method": "compressed-tensors", "format": form, "ignore": ["lm_head"],
                                    "config_groups": {"group_0": group}}}


FP8 = checkpoint("float", "float-quantized", {"num_bits": 8, "strategy": "channel"}, {"num_bits": 8, "strategy": "token"})
INT4 = checkpoint("int", "pack-quantized", {"num_bits": 4, "strategy": "group", "group_size": 128})


class Question:
    """Words of a command; what stands behind `--`, or for plan among its own, are vLLM's flags."""

    def __init__(self, words):
        cut = words.index("--") if "--" in words else len(words)
        self.own, self.flags = tuple(words[:cut]), tuple(SHORT.get(w, w) for w in words[cut + 1:])

    def words(self):
        return [*self.own, *(["--", *self.flags] if self.flags else [])]

    def __str__(self):
        return shlex.join(self.words())

    def of(self, own, flags):
        changed = Question([])
        changed.own, changed.flags = tuple(own), tuple(flags)
        return changed

    def own_with(self, *settings):
        """With own options set, replaced where they are given; None takes one out."""
        return self.of(with_settings(self.own, settings), self.flags)

    def flags_with(self, *settings):
        if self.own[0] == "plan":
            return self.own_with(*settings)
        return self.of(self.own, with_settings(self.flags, settings))


def with_settings(words, settings):
    words = list(words)
    for name, value in settings:
        if name in words:
            at = words.index(name)
            takes = at + 1 < len(words) and not words[at + 1].startswith("-")
            del words[at:at + 1 + takes]
        if value is not None:
            words += [name] if value is True else [name, str(value)]
    return words


@functools.cache
def run(binary, words):
    env = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "VLLM_"))}
    env.update(NO_COLOR="1", COLUMNS="160", HF_HUB_OFFLINE="1", HOME="/nonexistent")
    return subprocess.run([binary, *words], capture_output=True, text=True, env=env, cwd=HERE, timeout=300)


def ask(question, json_too=True):
    """The answer; an input error is an answer without plans that does not start."""
    words = question.words()
    if json_too:
        words = [*question.own, "--json", *words[len(question.own):]]
    out = run(BINARY, tuple(words))
    if out.returncode not in (0, 1):
        return {"error": out.stderr.strip(), "plans": [], "near_misses": [], "starts": False}
    return json.loads(out.stdout) if json_too else out.stdout


def layout_settings(text, whole=True):
    """Flags that pin the layout TEXT, all of its parts; of one deployment unless it is the whole."""
    sizes = dict.fromkeys(PARTS, 1)
    for letters, size in re.findall(r"\b(TP|PP|PCP|DP|DCP)(\d+)", text):
        sizes[letters] = int(size)
    settings = [(PARTS[p], n) for p, n in sizes.items()]
    settings += [("--enable-expert-parallel", True if "+ EP" in text else None)]
    if "+ EP" in text:
        settings.append(("--expert-placement-strategy", "round_robin" if "round_robin" in text else "linear"))
    replicas = re.search(r"x (\d+) replicas", text)
    if whole:
        settings.append(("--replicas", replicas[1] if replicas else 1))
    return settings


def plans_of(answer):
    return {p["plan"]: p for p in [*answer["near_misses"], *answer["plans"]]}


def close(a, b, tolerance=1e-6):
    return math.isclose(a, b, rel_tol=tolerance, abs_tol=1e-9)


def same_numbers(said, found):
    """Predictions of one plan in two answers."""
    return [f"{k}: said {said[k]['mean']:.6g}, is {found[k]['mean']:.6g}"
            for k in ("tpot_ms", "ttft_ms", "output_tokens_per_second") if not close(said[k]["mean"], found[k]["mean"])]


# Each of the below yields (what is said, the other question, what that one's answer has against it).

def stands_as(text, said):
    """A plan of that text stands, with the numbers said."""
    def against(answer):
        plan = plans_of(answer).get(text)
        if said is None:
            return [f"{text} stands"] if plan in answer["plans"] else []
        return same_numbers(said, plan) if plan else [f"{text} does not stand: {why_none(answer)}"]
    return against


def wins(text, gpus=None, tie=0.0):
    """It is the best, of those with so many GPUs if that is said; or its score is within `tie` of that."""
    def against(answer):
        plans = [p for p in answer["plans"] if gpus in (None, p["gpus"])]
        reached = [p["plan"] for p in plans if p["score"] >= (1 - tie) * plans[0]["score"]] if tie else [p["plan"] for p in plans[:1]]
        return [] if text in reached else [f"{plans[0]['plan'] if plans else 'none'} wins"]
    return against


SCREENED = 1 / 0.8 - 1  # of the score: the closed form, which chooses what is simulated, may be wrong by that much


def is_best(text):
    """It wins, or what does is hardly better."""
    def against(answer):
        best, said = answer["plans"][:1], plans_of(answer).get(text)
        if not best or not said:
            return [f"{text} does not stand: {why_none(answer)}"]
        better = best[0]["score"] / said["score"] - 1
        return [f"{best[0]['plan']} wins, {100 * better:.1f} % better"] if better > SCREENED else []
    return against


def why_none(answer):
    return answer.get("error") or answer.get("no_plan", {}).get("reason") or "another plan takes its place"


def none_stands(answer):
    return [f"{answer['plans'][0]['plan']} stands"] if answer["plans"] else []


def one_stands(answer):
    return [] if answer["plans"] else [f"none stands: {why_none(answer)}"]


def slower_links(question, answer, factor):
    """The cluster with links `factor` as fast, as a file."""
    assumed, (nodes, gpus, gpu) = answer["assumed"], cluster_parts(answer["question"]["cluster"])
    lines = [f"nodes:\n  - gpu: {gpu}\n    count: {nodes}\n    gpus: {gpus}"]
    for name in ("scale_up", "network", "pcie", "pcie_cross_numa"):
        if name not in assumed:
            continue
        link = re.match(r"(.*?), ([\d.]+) GB/s per GPU, ([\d.]+ us)(?:, domains of (\d+))?", assumed[name]["value"])
        domain = f", domain: {link[4]}" if link[4] else ""
        lines.append(f"    {name}: {{name: slow, bandwidth: {float(link[2]) * factor} GB/s, latency: {link[3]}{domain}}}")
    path = pathlib.Path(FOLDER.name) / f"{abs(hash(tuple(lines)))}.yaml"
    path.write_text("\n".join(lines) + "\n")
    return question.own_with(("--gpus", path))


def cluster_parts(text):
    parts = text.split("x", 2) if re.match(r"\d+x\d+x", text) else ["1", *text.split("x", 1)]
    return int(parts[0]), int(parts[1]), parts[2]


def flip_question(question, answer, change):
    if m := re.match(r"(\d+) requests? in flight", change):
        return question.own_with(("--concurrency", m[1]))
    rate = answer["question"]["workload"].get("request_rate")
    if change == "a quarter of the request rate":
        return question.own_with(("--rate", rate / 4))
    if change == "twice the request rate":
        return question.own_with(("--rate", rate * 2))
    if change == "prompts four times as long":
        return question.own_with(("--isl", 4 * int(answer["question"]["workload"]["isl"])))
    if change == "links an eighth as fast":
        return slower_links(question, answer, 1 / 8)
    if change == "links twice as fast":
        return slower_links(question, answer, 2)
    return None


def of_flips(question, answer):
    for flip in answer["explanation"]["flips"]:
        other = flip_question(question, answer, flip["change"])
        yield f"{flip['change']}: {flip['plan']}", other, wins(flip["plan"], tie=0.02)


def of_explanation(question, answer):
    best, x = answer["plans"][0], answer["explanation"]
    load = [("--concurrency", f"{x['ladder_concurrency']:g}")] if x.get("ladder_concurrency") else []
    for step in x["ladder"]:
        pinned = question.own_with(*layout_settings(step["plan"]["plan"]), *load)
        yield f"{step['change']}: {step['plan']['plan']}", pinned, stands_as(step["plan"]["plan"], step.get("estimate"))
    for point in x["curves"]:
        if point["dimension"] == "gpus":
            gpus = int(point["value"])
            fewer = question.own_with(("--max-gpus", gpus), ("--simulate", 0))
            yield f"the best of {gpus} GPUs: {point['plan']}", fewer, wins(point["plan"], gpus)
            continue
        flag = "--" + point["dimension"].replace("_", "-")
        value = {"0": None, "1": True}[point["value"]] if flag == "--enable-expert-parallel" else point["value"]
        flag = "--no-enable-expert-parallel" if value is None else flag
        pinned = question.own_with((flag, True if value is None else value), ("--simulate", 0))
        yield f"the best of {point['dimension']} {point['value']}: {point['plan']}", pinned, wins(point["plan"])
    reasons = " ".join(x["reasons"])
    for tp in re.findall(r"TP (\d+) does not stand", reasons):
        yield f"TP {tp} does not stand", question.own_with((PARTS["TP"], tp)), none_stands
    for tp in re.findall(r"TP (\d+) leaves nothing to gain", reasons):
        yield f"TP {tp} leaves nothing to gain", question.own_with((PARTS["TP"], tp)), no_better(best)
    for tp, plan, *numbers in re.findall(
            r"at TP (\d+) the best plan is (.*?) \((\d+) tokens/s(?: with \d+ in flight)?, TPOT ([\d.]+) ms, TTFT (\d+) ms\)",
            reasons):
        yield f"at TP {tp} the best plan is {plan}", question.own_with((PARTS["TP"], tp)), is_best(plan)
    for tp, plan in re.findall(r"TP (\d+) gives [-+]\d+ % at best \((.*?)\)", reasons):
        yield f"at TP {tp} the best plan is {plan}", question.own_with((PARTS["TP"], tp)), is_best(plan)
    for part in ("DP", "PP", "DCP"):
        for value, plan in re.findall(rf"{part} (\d+): .*?the best plan otherwise is (.*?) \(\d+ tokens", "\n".join(x["reasons"])):
            size = (re.findall(rf"\b{part}(\d+)", plan) or ["1"])[0]
            yield f"{part} {value}: otherwise {plan}", question.own_with((PARTS[part], size)), is_best(plan)


def no_better(best):
    def against(answer):
        return [f"{p['plan']} is better" for p in answer["plans"][:1] if p["score"] > 1.002 * best["score"]]
    return against


def unexplained(question, answer):
    """The same question, its plans priced in the same way, without ladder and what-ifs of its own."""
    simulated = any("simulated" in p["band_reason"] for p in plans_of(answer).values())
    return question.own_with(("--no-explain", True), ("--simulate", 10 if simulated else 0))


def of_plan(question, answer):
    if answer["plans"]:
        yield from of_flips(question, answer)
    whole = question
    if plans_of(answer):
        question = unexplained(question, answer)
    if answer["plans"]:
        yield from of_explanation(question, answer)
        for plan in answer["plans"][:3]:
            yield f"{plan['plan']} stands", question.own_with(*layout_settings(plan["plan"])), stands_as(plan["plan"], plan)
    for miss in answer["near_misses"][:2]:
        pinned = question.own_with(*layout_settings(miss["plan"]))
        yield f"{miss['plan']} misses {miss['slos_missed']}", pinned, stands_as(miss["plan"], miss)
        yield f"{miss['plan']} misses {miss['slos_missed']}", pinned, stands_as(miss["plan"], None)
    for row in answer["rejected"]:
        text = row["example"].split(":")[0]
        yield f"{row['rule']}: {row['example'][:60]}", question.own_with(*layout_settings(text)), stands_as(text, None)
    for change in answer.get("no_plan", {}).get("nearest", []):
        what, other = change["change"], None
        if what.startswith("--"):
            other = whole.own_with(tuple(shlex.split(what)))
        elif re.match(r"[\dx]+x[A-Z]", what):
            other = whole.own_with(("--gpus", what))
        elif what.startswith("an FP8"):
            other = whole.own_with(("--hf-overrides", json.dumps(FP8)))
        elif what.startswith("a 4-bit"):
            other = whole.own_with(("--hf-overrides", json.dumps(INT4)))
        elif what.startswith("a shorter --max-model-len"):
            other = whole.own_with(("--max-model-len", None), ("--min-model-len", None))
        yield f"{what}: {change['stands']} ({change['note']})", other, one_stands if change["stands"] else none_stands


def starts(text, said):
    def against(answer):
        if not answer["starts"]:
            return [f"does not start: {answer.get('error') or answer.get('refusal') or answer.get('memory_refusal')}"]
        wrong = [] if answer["plan"]["plan"] == text else [f"it becomes {answer['plan']['plan']}"]
        return wrong + same_numbers(said, answer["prediction"])
    return against


def of_check(question, answer):
    load = answer["prediction"]["concurrency"] if answer["starts"] else 32
    if not {"--concurrency", "--rate"} & set(question.own):
        question = question.own_with(("--concurrency", int(load)))
    length = ("--max-model-len", answer["resolved"]["max_model_len"]["resolved"]) if "max_model_len" in answer["resolved"] else None
    for change in answer["changes"]:
        what = change["change"]
        settings = [] if "--max-model-len" in what or not length else [length]
        if what.startswith("the best layout: "):
            text = what.split(": ")[1]
            if "replicas" in text:  # no command of vLLM's
                plan = Question(["plan", *question.own[1:], *question.flags]).own_with(*settings, *layout_settings(text))
                yield f"{what}: {change['note']}", plan, stands_as(text, change["estimate"])
                continue
            settings += layout_settings(text, whole=False)
        elif what.startswith("without "):
            settings.append((what[8:], None))
        elif what.startswith("default "):
            settings.append((what[8:], None))
        elif what == "with chunked prefill":
            settings.append(("--no-enable-chunked-prefill", None))
        else:
            words = what.split(" (")[0].split()
            names = [i for i, w in enumerate(words) if w.startswith("-")]
            for i, j in zip(names, [*names[1:], len(words)]):
                settings.append((SHORT.get(words[i], words[i]), words[i + 1] if j > i + 1 else True))
        yield f"{what}: {change['note']}", question.flags_with(*settings), starts(change["plan"]["plan"], change["estimate"])
    if longest := answer.get("memory_refusal", {}).get("estimated_max_model_len"):
        yield f"{longest} tokens would fit", question.flags_with(("--max-model-len", longest)), fits(True)
        yield f"no more than {longest} tokens would fit", question.flags_with(("--max-model-len", longest + 16)), fits(False)


def fits(wanted, probability=0.0, tokens=None):
    def against(answer):
        if answer.get("starts", False) != wanted:
            return ["starts" if not wanted else f"does not start: {answer.get('error') or answer.get('refusal') or answer.get('memory_refusal')}"]
        wrong = []
        if wanted and answer.get("probability_fits", 1) < probability:
            wrong.append(f"fits with {answer['probability_fits']:.3f}")
        if tokens is not None and answer["kv_tokens"] != tokens:
            wrong.append(f"{answer['kv_tokens']} KV tokens, said {tokens}")
        return wrong
    return against


def row_agrees(row, engines):
    def against(answer):
        wrong = fits(row["starts"])(answer)
        if wrong or "memory" not in answer:
            return wrong
        pairs = [("kv_tokens", answer["kv_tokens"] * engines), ("max_concurrency", answer["max_concurrency"] * engines),
                 ("probability_fits", answer["probability_fits"])]
        return [f"{name}: said {row[name]}, is {is_}" for name, is_ in pairs if not close(row[name], is_)]
    return against


def of_memory(question, answer):
    for row in answer.get("what_if", []):
        what = row["change"]
        if what.startswith("--"):
            name, *value = what.split(" ")
            other = question.flags_with((name, value[0] if value else True))
        else:
            other = question.flags_with(*layout_settings(what, whole=False))
            nodes, gpus, gpu = cluster_parts(question.own[question.own.index("--gpus") + 1])
            if row["gpus"] > nodes * gpus:  # the row says how many it is about
                other = other.own_with(("--gpus", f"{row['gpus']}x{gpu}"))
        dp = re.search(r"\bDP(\d+)", what) if what.startswith("TP") else re.search(r"data-parallel-size (\d+)", str(question))
        yield what, other, row_agrees(row, int(dp[1]) if dp else 1)
    if longest := answer.get("longest_max_model_len"):
        yield f"{longest} tokens fit", question.flags_with(("--max-model-len", longest)), fits(True)
        yield f"{longest + 16} tokens do not", question.flags_with(("--max-model-len", longest + 16)), fits(False)
    if safe := answer.get("safe_max_model_len"):
        yield f"{safe} tokens fit with 95 %", question.flags_with(("--max-model-len", safe)), fits(True, 0.95)
    text = ask(question, False)
    if m := re.search(r"gpu_memory_utilization is safe up to ([\d.]+): ([\d,]+) KV tokens", text):
        other = question.flags_with(("--gpu-memory-utilization", m[1]))
        starts_there = answer["starts"] or None
        if starts_there:
            yield f"gpu_memory_utilization {m[1]}: {m[2]} KV tokens", other, fits(True, 0.5, int(m[2].replace(",", "")))


def of_simulation(question, answer):
    rate = answer["max_rate"]["request_rate"]

    def against(met):
        return lambda a: [] if all(s["met"] for s in a["slos"]) == met else [f"SLOs {'missed' if met else 'kept'}: {a['slos']}"]
    for factor, met in (1, True), (1.05, False):
        other = question.own_with(("--max-rate", None), ("--rate", factor * rate), ("--requests", answer["completed"] + answer["failed"]))
        yield f"{rate:.4g} requests/s is the highest that keeps the SLOs", other, against(met)


def of_place(question, answer):
    for row in answer["policies"]:
        if more := re.search(r"(\d+) redundant ones would do", row.get("refusal", "")):
            other = question.own_with(("--redundant-experts", more[1]), ("--policy", row["policy"]))
            yield row["refusal"], other, lambda a: [p["refusal"] for p in a["policies"] if "refusal" in p]


CLAIMS = {"plan": of_plan, "check": of_check, "memory": of_memory, "simulate": of_simulation, "place": of_place}


def main():
    global BINARY, FOLDER
    BINARY, FOLDER = str(pathlib.Path(sys.argv[1]).resolve()), tempfile.TemporaryDirectory()
    asked = [Question(shlex.split(q)) for q in QUESTIONS if all(word in q for word in sys.argv[2:])]
    agreed = disagreed = 0
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        answers = list(pool.map(ask, asked))
        claims = [(q, c) for q, a in zip(asked, answers) for c in CLAIMS[q.own[0]](q, a)]
        judged = pool.map(lambda c: c[1][2](ask(c[1][1])) if c[1][1] else ["cannot be asked"], claims)
        for (question, (said, other, _)), wrong in zip(claims, judged):
            agreed, disagreed = agreed + (not wrong), disagreed + bool(wrong)
            if wrong:
                print(f"$ {question}\n  says: {said}\n  asked: $ {other}", *(f"  but {w}" for w in wrong), sep="\n")
    print(f"{len(asked)} questions, {agreed + disagreed} other questions in their answers: {disagreed} disagree")
    return 1 if disagreed else 0


if __name__ == "__main__":
    sys.exit(main())
