"""What the scheduler of an installed vLLM does with recorded requests: the traces of tests/golden/schedule, asked anew.

  python ask_schedule.py CASES.jsonl OUT.jsonl

No model runs. vLLM's own Scheduler (or AsyncScheduler) and KV cache manager decide; this file adds requests when they
are due, keeps as many batches in flight as vLLM's engine core would, and answers every batch with made-up tokens: token
j of request r is 1000000000 + 100000 r + j. docs/simulator.md describes the format.
"""
import argparse
import collections
import hashlib
import json
import os
import pathlib
import tempfile
import traceback

os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ["VLLM_USE_V2_MODEL_RUNNER"] = "0"  # until the configuration stands: without a GPU it would be refused

import torch  # noqa: E402
from vllm import SamplingParams  # noqa: E402
from vllm.config import (CacheConfig, DeviceConfig, ModelConfig, ParallelConfig, SchedulerConfig,  # noqa: E402
                         SpeculativeConfig, VllmConfig)
from vllm.utils.hashing import sha256  # noqa: E402
from vllm.v1 import kv_cache_interface as kv  # noqa: E402
from vllm.v1.core import kv_cache_utils  # noqa: E402
from vllm.v1.core.sched.async_scheduler import AsyncScheduler  # noqa: E402
from vllm.v1.core.sched.scheduler import Scheduler  # noqa: E402
from vllm.v1.outputs import DraftTokenIds, ModelRunnerOutput  # noqa: E402
from vllm.v1.request import Request, RequestStatus  # noqa: E402
from vllm.v1.structured_output import StructuredOutputManager  # noqa: E402

END = 2  # the token that ends a text
FIRST_OUTPUT, OUTPUTS_OF_ONE = 1_000_000_000, 100_000
LONGEST = 20_000  # ticks

# What a case leaves out of `config`.
DEFAULTS = {
    "block_size": 16, "num_blocks": 1000, "max_model_len": 4096, "max_num_seqs": 128, "max_num_batched_tokens": 2048,
    "max_num_scheduled_tokens": None, "max_num_active_seqs": None, "enable_chunked_prefill": True,
    "long_prefill_token_threshold": 0, "long_prefill_token_threshold_adaptive": False, "policy": "fcfs",
    "enable_prefix_caching": True, "scheduler_reserve_full_isl": True, "watermark": 0.0, "prefill_schedule_interval": 1,
    "async_scheduling": False, "pipeline_parallel_size": 1, "decode_context_parallel_size": 1, "use_v2_model_runner": False,
    "speculative": None, "kv_groups": None, "prefix_cache_retention_interval": 0, "prefix_match_unit": None,
}
SCHEDULER_FIELDS = """max_num_seqs max_num_batched_tokens max_num_scheduled_tokens max_num_active_seqs max_model_len
    enable_chunked_prefill long_prefill_token_threshold long_prefill_token_threshold_adaptive policy
    scheduler_reserve_full_isl watermark prefill_schedule_interval""".split()


def tiny_model(folder):
    """A configuration that vLLM reads; nothing of it matters to the scheduler."""
    text = json.dumps({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 64, "intermediate_size": 64,
        "num_hidden_layers": 1, "num_attention_heads": 4, "num_key_value_heads": 1, "vocab_size": 1000,
        "max_position_embeddings": 1 << 20, "rms_norm_eps": 1e-6, "torch_dtype": "float16"})
    for place in (folder, os.path.join(folder, "eagle")):
        os.makedirs(place, exist_ok=True)
        pathlib.Path(place, "config.json").write_text(text)
    return folder


def kv_spec(group):
    if group["type"] == "mamba":
        return kv.MambaSpec(block_size=group["block_size"], shapes=((1,),), dtypes=(torch.float32,),
                            mamba_cache_mode=group["mamba_cache_mode"])
    kind = {"full": kv.FullAttentionSpec, "sliding_window": kv.SlidingWindowSpec,
            "chunked_local": kv.ChunkedLocalAttentionSpec}[group["type"]]
    more = {name: group[name] for name in ("sliding_window", "attention_chunk_size") if name in group}
    return kind(block_size=group["block_size"], num_kv_heads=1, head_size=1, dtype=torch.float32, **more)


def build(given, model):
    """(scheduler, vLLM's configuration, hasher of a request's blocks or None)"""
    os.environ["VLLM_USE_V2_MODEL_RUNNER"] = "0"
    target = ModelConfig(model=model, tokenizer=model, skip_tokenizer_init=True, dtype="float16", seed=0,
                         max_model_len=given["max_model_len"])
    groups = given["kv_groups"] or [{"type": "full", "block_size": given["block_size"]}]
    dcp = given["decode_context_parallel_size"]
    parallel = ParallelConfig(pipeline_parallel_size=given["pipeline_parallel_size"], tensor_parallel_size=dcp,
                              decode_context_parallel_size=dcp, distributed_executor_backend="mp")
    cache = CacheConfig(block_size=groups[0]["block_size"], enable_prefix_caching=given["enable_prefix_caching"],
                        prefix_match_unit=given["prefix_match_unit"],
                        prefix_cache_retention_interval=given["prefix_cache_retention_interval"])
    draft = None
    if given["speculative"]:
        method = given["speculative"]["method"]
        source = {"ngram": {"prompt_lookup_max": 4, "prompt_lookup_min": 2}, "eagle": {"model": os.path.join(model, "eagle")}}
        draft = SpeculativeConfig(method=method, num_speculative_tokens=given["speculative"]["num_speculative_tokens"],
                                  target_model_config=target, target_parallel_config=parallel,
                                  **source.get(method, {"model": model}))
    config = VllmConfig(
        model_config=target, cache_config=cache, parallel_config=parallel, speculative_config=draft,
        scheduler_config=SchedulerConfig(is_encoder_decoder=False, async_scheduling=False, **{name: given[name] for name in SCHEDULER_FIELDS}),
        device_config=DeviceConfig("cpu"))
    os.environ["VLLM_USE_V2_MODEL_RUNNER"] = "1" if given["use_v2_model_runner"] else "0"
    # A machine without a GPU changes these: they are what the case asks for.
    config.scheduler_config.async_scheduling = given["async_scheduling"]
    config.cache_config.block_size = groups[0]["block_size"]
    config.cache_config.num_gpu_blocks = given["num_blocks"]
    for group in groups:
        if group["type"] == "mamba":
            config.cache_config.mamba_cache_mode = group["mamba_cache_mode"]
    pool = kv.KVCacheConfig(
        num_blocks=given["num_blocks"], kv_cache_tensors=[],
        kv_cache_groups=[kv.KVCacheGroupSpec([f"layer{i}"], kv_spec(group)) for i, group in enumerate(groups)],
        prefix_cache_retention_interval=config.cache_config.prefix_cache_retention_interval)
    block_size, hash_block_size = kv_cache_utils.resolve_kv_cache_block_sizes(pool, config)
    scheduler = (AsyncScheduler if given["async_scheduling"] else Scheduler)(
        vllm_config=config, kv_cache_config=pool, structured_output_manager=StructuredOutputManager(config),
        block_size=block_size, hash_block_size=hash_block_size, log_stats=True)
    hasher = None
    if given["enable_prefix_caching"]:
        kv_cache_utils.init_none_hash(sha256)
        ahead = getattr(config, "num_hash_lookahead_tokens", 0)  # from 0.33: tokens after a block that its hash covers
        hasher = kv_cache_utils.get_request_block_hasher(hash_block_size, sha256, *([ahead] if ahead else []))
    return scheduler, config, hasher


class Played:
    """One request as far as it has come."""

    def __init__(self, given):
        self.given = given
        self.scheduled = self.first_token = self.finished = -1
        self.preemptions = self.first_hit = self.verified = 0
        self.reason = "none"


Batch = collections.namedtuple("Batch", "call output ids emits drafts admitted")


class Player:
    def __init__(self, case, model):
        self.case, self.given = case, {**DEFAULTS, **case["config"]}
        self.scheduler, config, self.hasher = build(self.given, model)
        self.in_flight = config.max_concurrent_batches
        self.batches = collections.deque()  # newest first
        self.requests = {str(r["id"]): Played(r) for r in case["requests"]}
        self.due = collections.defaultdict(list)
        self.waiting = collections.deque()
        self.places = case.get("concurrency") or 0
        if self.places:
            self.waiting.extend(case["requests"])
        else:
            for request in case["requests"]:
                self.due[request["arrive"]].append(request)
        self.aborts = collections.defaultdict(list)
        for tick, which in case.get("aborts", []):
            self.aborts[tick].append(which)
        self.last_event = max([*self.due, *self.aborts], default=0)
        self.last_arrival = max(self.due, default=0)
        self.calls = self.tokens = 0
        self.cache = collections.Counter()

    def free_blocks(self):
        return self.scheduler.kv_cache_manager.block_pool.get_num_free_blocks()

    def add(self, given, tick):
        ends = given.get("eos_at") is not None
        sampling = SamplingParams(max_tokens=given["max_tokens"], ignore_eos=not ends, temperature=0.0)
        if ends:
            sampling._eos_token_id = END  # the engine's input side does this
        prompt = [token for first, count in given["prompt"] for token in range(first, first + count)]
        when = float(tick) if self.case.get("arrival_time") == "tick" else tick + given["id"] * 1e-4
        self.scheduler.add_request(Request(
            request_id=str(given["id"]), prompt_token_ids=prompt, sampling_params=sampling, pooling_params=None,
            arrival_time=when, priority=given.get("priority", 0), block_hasher=self.hasher))

    def schedule(self, tick, record):
        interval = self.given["prefill_schedule_interval"]
        out = self.scheduler.schedule(interval > 1 and self.calls % interval != 0)
        ids = list(out.num_scheduled_tokens)
        old = out.scheduled_cached_reqs
        before = {new.req_id: new.num_computed_tokens for new in out.scheduled_new_reqs}
        before.update(zip(old.req_ids, old.num_computed_tokens))
        listed_new = {new.req_id for new in out.scheduled_new_reqs}
        again = lambda i: i in old.resumed_req_ids or (i in listed_new and self.scheduler.requests[i].num_preemptions)  # noqa: E731
        resumed = [i for i in ids if again(i)]
        new = [i for i in ids if i in listed_new and not again(i)]
        drafts = {i: len(tokens) for i, tokens in out.scheduled_spec_decode_tokens.items()}
        preempted = sorted(map(int, out.preempted_req_ids or ()))
        record["id"] = [int(i) for i in ids]
        record["n"] = [out.num_scheduled_tokens[i] for i in ids]
        record["c"] = [before[i] for i in ids]
        for name, values in (("new", [int(i) for i in new]), ("res", [int(i) for i in resumed]), ("pre", preempted),
                             ("sp", [drafts.get(i, 0) for i in ids] if drafts else [])):
            if values:
                record[name] = values
        record["free"] = self.free_blocks()
        record["run"], record["wait"] = self.scheduler.get_request_counts()
        for i in new:
            self.requests[i].scheduled, self.requests[i].first_hit = tick, before[i]
        for i in preempted:
            self.requests[str(i)].preemptions += 1
        self.tokens += out.total_num_scheduled_tokens
        self.calls += 1
        # A chunk that does not reach the last known token gives no new one.
        emits = {i for i in ids if not self.scheduler.requests[i].is_prefill_chunk}
        return Batch(self.calls - 1, out, ids, emits, drafts, {*new, *resumed})

    def sampled(self, batch):
        """Tokens of every request of the batch, and how many drafts each accepted."""
        tokens, accepted = [], []
        for i in batch.ids:
            request = self.scheduler.requests.get(i)
            played, right = self.requests[i], 0
            if i not in batch.emits or request is None:
                tokens.append([])
                accepted.append(0)
                continue
            if batch.drafts.get(i) and i not in batch.admitted:
                cycle = self.given["speculative"]["accept"]
                right = min(batch.drafts[i], cycle[(7 * int(i) + played.verified) % len(cycle)])
                played.verified += 1
            first = request.num_output_tokens
            tokens.append([END if played.given.get("eos_at") == j else FIRST_OUTPUT + int(i) * OUTPUTS_OF_ONE + j
                           for j in range(first, first + 1 + right)])
            accepted.append(right)
        return tokens, accepted

    def update(self, batch, tick, record):
        tokens, accepted = self.sampled(batch)
        answer = ModelRunnerOutput(req_ids=batch.ids, req_id_to_index={i: at for at, i in enumerate(batch.ids)},
                                   sampled_token_ids=tokens, logprobs=None, prompt_logprobs_dict={}, pooler_output=[])
        finished = []
        for outputs in self.scheduler.update_from_output(batch.output, answer).values():
            for one in outputs.outputs:
                played = self.requests[one.request_id]
                if one.new_token_ids and played.first_token < 0:
                    played.first_token = tick
                if one.finish_reason is not None:
                    finished.append(int(one.request_id))
                    played.finished, played.reason = tick, str(one.finish_reason)
            stats = outputs.scheduler_stats and outputs.scheduler_stats.prefix_cache_stats
            if stats:
                for name in ("requests", "queries", "hits", "preempted_requests", "preempted_queries", "preempted_hits"):
                    self.cache[name] += getattr(stats, name)
        if any(accepted):
            record["acc"] = accepted
        if finished:
            record["fin"] = finished
        record["free2"] = self.free_blocks()
        if self.given["speculative"] and not self.given["async_scheduling"] and batch.output.total_num_scheduled_tokens:
            count = self.given["speculative"]["num_speculative_tokens"]
            self.scheduler.update_draft_token_ids(DraftTokenIds(list(batch.ids), [[7] * count for _ in batch.ids]))
        if self.case.get("concurrency"):
            self.places += len(finished)

    def events(self, tick, record):
        for which in self.aborts.get(tick, ()):
            if self.scheduler.finish_requests(str(which), RequestStatus.FINISHED_ABORTED):
                record.setdefault("abort", []).append(which)
                self.requests[str(which)].finished, self.requests[str(which)].reason = tick, "abort"
                self.places += bool(self.case.get("concurrency"))
        arriving = self.due.get(tick, [])
        if self.case.get("concurrency"):
            arriving = [self.waiting.popleft() for _ in range(min(self.places, len(self.waiting)))]
            self.places = 0
        for request in arriving:
            self.add(request, tick)
        if arriving:
            record["a"] = [request["id"] for request in arriving]

    def step(self, tick, record):
        """EngineCore.step, or step_with_batch_queue where several batches may be in flight. False: nothing to do."""
        if self.in_flight == 1:
            if not self.scheduler.has_requests():
                return False
            self.update(self.schedule(tick, record), tick, record)
            return True
        if self.scheduler.has_requests():
            batch = self.schedule(tick, record)
            record["k"] = batch.call
            self.batches.appendleft(batch)
            scheduled = batch.output.total_num_scheduled_tokens > 0
            if len(self.batches) < self.in_flight and (scheduled or self.scheduler.has_requests()):
                return True
        elif not self.batches:
            return False
        batch = self.batches.pop()
        record["u"] = batch.call
        self.update(batch, tick, record)
        return True

    def play(self):
        records, idle = [], 0
        for tick in range(self.case.get("max_ticks", LONGEST)):
            record = {"t": tick}
            self.events(tick, record)
            stepped = self.step(tick, record)
            if stepped or len(record) > 1:
                records.append(record)
            idle = idle + 1 if stepped and not any(record.get("n", ())) and not record.get("fin") else 0
            if not stepped and tick >= self.last_event and not self.waiting:
                break
            if idle > 50 and tick > self.last_arrival:
                break  # a request that never fits: vLLM waits for ever
        return records


def canonical(record):
    rows = sorted(zip(record.get("id", ()), record.get("n", ()), record.get("c", ())))
    return "|".join([str(record["t"]), ",".join(f"{i}:{n}:{c}" for i, n, c in rows), ",".join(map(str, record.get("pre", ()))),
                     ",".join(map(str, sorted(record.get("fin", ())))), str(record.get("free", "")), str(record.get("free2", ""))])


def answer(case, model):
    player = Player(case, model)
    records = player.play()
    expect = {
        "num_schedule_calls": player.calls, "total_scheduled_tokens": player.tokens,
        "prefix_cache": {name: player.cache[name] for name in ("requests", "queries", "hits", "preempted_requests",
                                                               "preempted_queries", "preempted_hits")},
        "num_preemptions": sum(p.preemptions for p in player.requests.values()),
        "unfinished": sorted(map(int, player.scheduler.requests)),
        "requests": [[int(i), p.scheduled, p.first_token, p.finished, p.preemptions, p.first_hit, p.reason]
                     for i, p in player.requests.items()],
        "batch_queue_size": player.in_flight,
    }
    if case.get("record", "full") == "full":
        return {**expect, "steps": records}
    stride = case.get("stride", 1)
    texts = [canonical(record) for record in records]
    pieces = ["\n".join(texts[at:at + stride]) for at in range(0, len(texts), stride)]
    return {**expect, "num_records": len(records), "first_records": texts[:20],
            "digests": " ".join(hashlib.sha256(piece.encode()).hexdigest()[:12] for piece in pieces),
            "step_tokens": [sum(r.get("n", ())) for r in records[:400]], "step_free": [r.get("free", -1) for r in records[:400]]}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases")
    parser.add_argument("out")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="oracle-model-") as folder, open(options.cases) as cases, open(options.out, "w") as out:
        model = tiny_model(folder)
        for case in map(json.loads, cases):
            try:
                expect = answer(case["input"], model)
            except Exception as error:  # noqa: BLE001 - a configuration that this version no longer runs
                traceback.print_exc()
                expect = {"error": type(error).__name__, "message": str(error)[:300]}
            json.dump({"id": case["id"], "input": case["input"], "expect": expect}, out)
            out.write("\n")


if __name__ == "__main__":
    main()
