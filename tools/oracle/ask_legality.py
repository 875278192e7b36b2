"""What an installed vLLM says to recorded legality inputs: accepted or refused when it checks its arguments, and the
values it resolves. Starting engines, and what workers find out, lie behind that point: commands are stopped there.

  python ask_legality.py CASES.jsonl OUT.jsonl --models DIR      DIR/NAME/config.json
"""
import contextlib
import copy
import json
import os
import sys
import traceback
from types import ModuleType, SimpleNamespace
from unittest import mock

import arguments
import emulated_node
import torch
import vllm
import vllm.config.model as model_config
import vllm.config.parallel as parallel_config
from vllm.distributed.utils import get_pp_indices
from vllm.engine.arg_utils import AsyncEngineArgs, EngineArgs
from vllm.entrypoints.cli import serve
from vllm.usage.usage_lib import UsageContext
from vllm.utils.argparse_utils import FlexibleArgumentParser
from vllm.v1.executor import Executor, ray_utils

# Resolved values by the part of vLLM's configuration that holds them, under vLLM's own names.
VALUES = {
    "parallel_config": """world_size world_size_across_dp data_parallel_size data_parallel_size_local data_parallel_rank
        data_parallel_rank_local data_parallel_backend data_parallel_master_ip data_parallel_external_lb
        data_parallel_hybrid_lb distributed_executor_backend nnodes_within_dp node_rank_within_dp local_world_size
        expert_placement_strategy all2all_backend use_all2all enable_eplb dcp_comm_backend dcp_q_replicate
        cp_kv_cache_interleave_size disable_custom_all_reduce""",
    "model_config": "is_moe max_model_len quantization enforce_eager",
    "scheduler_config": """max_num_batched_tokens max_num_seqs enable_chunked_prefill async_scheduling
        disable_hybrid_kv_cache_manager max_num_scheduled_tokens""",
    "cache_config": "enable_prefix_caching block_size cache_dtype mamba_block_size mamba_cache_mode",
    "compilation_config": "max_cudagraph_capture_size",
}


class Stopped(BaseException):
    """The command would start processes now."""


class RayExecutor:
    """Stands for vLLM's, which cannot be loaded without Ray."""
    uses_ray = supports_pp = True
    supports_async_scheduling = staticmethod(lambda: True)


def _executor(of):
    return lambda config: RayExecutor if config.parallel_config.distributed_executor_backend == "ray" else of(config)


class Command:
    config = None  # of the command that is being asked about


def _remember(create):
    def create_engine_config(self, *args, **kwargs):
        Command.config = create(self, *args, **kwargs)
        raise Stopped
    return create_engine_config


def _stop(*args, **kwargs):
    raise Stopped


def _single_server(args):
    AsyncEngineArgs.from_cli_args(args).create_engine_config(usage_context=UsageContext.OPENAI_API_SERVER)


def _cached(read):
    """config.json is read once a model."""
    known = {}

    def get_config(model, *args, hf_overrides_fn=None, **kwargs):
        if hf_overrides_fn is not None:
            return read(model, *args, hf_overrides_fn=hf_overrides_fn, **kwargs)
        key = (str(model), repr(args), repr(sorted(kwargs.items())))
        if key not in known:
            known[key] = read(model, *args, **kwargs)
        return copy.deepcopy(known[key])
    return get_config


EngineArgs.create_engine_config = _remember(EngineArgs.create_engine_config)
model_config.get_config = _cached(model_config.get_config)
Executor.get_class = staticmethod(_executor(Executor.get_class))
parallel_config.get_open_ports_list = lambda count=5: list(range(30000, 30000 + count))
serve.run_server = _single_server
serve.uvloop = SimpleNamespace(run=lambda done: done)
serve.setup_server = lambda *args, **kwargs: (None, None)
serve.setup_multiprocess_prometheus = lambda: None
serve.run_dp_supervisor = _stop
serve.signal = SimpleNamespace(signal=lambda *args: None, SIGTERM=15, SIGINT=2)
_package = os.path.dirname(vllm.__file__) + os.sep
_parser = serve.make_arg_parser(FlexibleArgumentParser().add_subparsers().add_parser("serve"))
_defaults = _parser.parse_args([])


@contextlib.contextmanager
def _ray(installed):
    """Ray is only asked whether it is there and running."""
    module = None
    if installed:
        module = sys.modules["ray"] = ModuleType("ray")
        module.is_initialized = lambda: False
    ray_utils.ray = module
    try:
        yield
    finally:
        sys.modules.pop("ray", None)


def _plain(value):
    if isinstance(value, torch.dtype):
        return str(value).removeprefix("torch.")
    return getattr(value, "name", value)


def resolved(config):
    out = {}
    for part, names in VALUES.items():
        holder = getattr(config, part)
        out.update({name: _plain(getattr(holder, name)) for name in names.split() if hasattr(holder, name)})
    parallel, compilation, model = config.parallel_config, config.compilation_config, config.model_config
    ranks = parallel.tensor_parallel_size * parallel.prefill_context_parallel_size * parallel.data_parallel_size
    out["ep_size"] = ranks if parallel.enable_expert_parallel else 1
    out["sequence_parallel_moe"] = parallel.use_sequence_parallel_moe
    out["num_redundant_experts"] = parallel.eplb_config.num_redundant_experts
    out["eplb_communicator"] = getattr(parallel.eplb_config, "communicator", None) if parallel.enable_eplb else None
    out["dtype"] = _plain(model.dtype)
    out["cudagraph_mode"] = _plain(compilation.cudagraph_mode)
    out["compilation_mode"] = _plain(compilation.mode)
    sizes = compilation.cudagraph_capture_sizes
    if sizes and len(sizes) > 3:
        sizes = {"n": len(sizes), "max": max(sizes), "min": min(sizes), "sum": sum(sizes)}
    out["cudagraph_capture_sizes"] = sizes
    out["num_hidden_layers"] = layers = model.get_total_num_hidden_layers()
    stages = parallel.pipeline_parallel_size
    try:
        out["pp_layers"] = [list(get_pp_indices(layers, stage, stages)) for stage in range(stages)]
    except ValueError as error:
        out["pp_layers"] = f"ValueError: {error}"
    draft = config.speculative_config
    out["speculative"] = draft and {"method": draft.method, "num_speculative_tokens": draft.num_speculative_tokens}
    return out


def _refusal(error):
    import pydantic
    message = str(error)
    if isinstance(error, pydantic.ValidationError):
        first = error.errors()[0]
        cause = first.get("ctx", {}).get("error")
        message = str(cause) if isinstance(cause, BaseException) else f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
        error = cause if isinstance(cause, BaseException) and cause.__traceback__ else error
    place = None
    for frame in traceback.extract_tb(error.__traceback__):
        if frame.filename.startswith(_package):
            place = frame.filename.removeprefix(_package) + ":" + frame.name
    return {"accept": False, "stage": "config", "error": type(error).__name__, "where": place, "message": message[:300]}


def ask_line(words, model, node, models):
    """The same of the words behind `vllm serve MODEL`."""
    emulated_node.Node.become(node["gpu"], node["gpus"])
    Command.config = None
    try:
        line = _parser.parse_args(words)
        line.model, line.model_tag, line.load_format, line.skip_tokenizer_init = os.path.join(models, model), None, "dummy", True
        with _ray(True), contextlib.suppress(Stopped):
            serve.ServeSubcommand.cmd(line)
        return {"accept": True}
    except SystemExit as error:  # the parser's own no
        return {"accept": False, "message": f"its parser, exit {error.code}"}
    except Exception as error:  # noqa: BLE001
        return _refusal(error)


def ask(case_input, models):
    """`expect` of one legality case, as far as the arguments' checks go."""
    emulated_node.Node.become(case_input["node"]["gpu"], case_input["node"]["gpus"])
    args = dict(copy.deepcopy(case_input["args"]), model=os.path.join(models, case_input["model"]), load_format="dummy",
                skip_tokenizer_init=True)
    Command.config = None
    try:
        with mock.patch.dict(os.environ, case_input.get("env") or {}), _ray(case_input["node"].get("ray_installed")):
            try:
                if case_input["mode"] == "offline":
                    EngineArgs(**args).create_engine_config(UsageContext.LLM_CLASS)
                else:
                    line = copy.deepcopy(_defaults)
                    line.model_tag = None
                    for name, value in args.items():
                        if not hasattr(line, name):
                            raise TypeError(f"unknown argument {name}")
                        setattr(line, name, value)
                    if isinstance(line.eplb_config, dict):
                        line.eplb_config = parallel_config.EPLBConfig(**line.eplb_config)
                    serve.ServeSubcommand.cmd(line)
            except Stopped:
                pass
            try:
                return {"accept": True} | (resolved(Command.config) if Command.config else {})
            except Exception:  # noqa: BLE001 - a value that fails when it is read fails when engines start
                return {"accept": True}
    except Exception as error:  # noqa: BLE001 - whatever vLLM raises is its answer
        return _refusal(error)


def main():
    options = arguments.parse(__doc__, models=True)
    version = emulated_node.vllm_version()
    with open(options.cases) as cases, open(options.out, "w") as out:
        for line in cases:
            case = json.loads(line)
            given = case["input"]
            if "node" not in given:  # the compact shape of sweep.jsonl
                given = {"mode": "offline", "model": given["model"], "node": {"gpu": "B200", "gpus": 128},
                         "args": {"tensor_parallel_size": given["tp"], "pipeline_parallel_size": given["pp"]}}
            with contextlib.redirect_stdout(sys.stderr):
                answer = ask(given, options.models)
            json.dump({"id": case["id"], "input": case["input"], "vllm": version, "expect": answer}, out, default=str)
            out.write("\n")


if __name__ == "__main__":
    main()
