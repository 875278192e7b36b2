"""Stands in for vLLM: logs to standard output as vLLM does, answers with what it was given; STUB says who fails."""
import json
import os
import time
from types import SimpleNamespace


class SamplingParams:
    def __init__(self, max_tokens):
        self.max_tokens = max_tokens


class LLM:
    def __init__(self, **arguments):
        print("INFO engine starts", flush=True)
        os.system("echo INFO a worker starts")
        self.arguments = arguments

    def generate(self, prompts, sampling):
        rank = os.environ.get("VLLM_DP_RANK")
        seen = {name: value for name, value in os.environ.items() if name.startswith(("VLLM_DP", "CUDA_VISIBLE"))}
        seen |= {"model": self.arguments["model"], "tp": self.arguments["tensor_parallel_size"], "tokens": sampling.max_tokens}
        what, _, who = os.environ.get("STUB", "").partition(" ")
        if what == "die" and rank == who:
            os._exit(3)
        if what:
            time.sleep(600)
        return [SimpleNamespace(outputs=[SimpleNamespace(text=json.dumps(seen))]) for _ in prompts]
