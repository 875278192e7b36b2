"""Which engines, workers and devices every node's `vllm serve` of a deployment starts, by an installed vLLM's own launcher
(tests/golden/ranks/nodes.jsonl).

  python ask_nodes.py CASES.jsonl OUT.jsonl --models DIR

The launcher runs up to the point where it would start processes; every worker up to the choice of its device and its
global rank.
"""
import contextlib
import copy
import json
import os
import sys
from types import SimpleNamespace
from unittest import mock

import arguments
import ask_legality
import emulated_node
import torch
import vllm.config
import vllm.distributed.utils
from ask_legality import Stopped
from vllm.distributed import parallel_state
from vllm.engine.arg_utils import AsyncEngineArgs, EngineArgs
from vllm.entrypoints.cli import serve
from vllm.usage.usage_lib import UsageContext
from vllm.v1.engine import core
from vllm.v1.engine import utils as launcher
from vllm.v1.executor import Executor
from vllm.v1.executor.multiproc_executor import MultiprocExecutor
from vllm.v1.worker import gpu_worker

create_engine_config = EngineArgs.create_engine_config.__closure__[0].cell_contents  # without ask_legality's stop


class Started:
    """What the command at hand would have started."""
    config = executor = engines = None  # engines: (count, first DP rank, first local rank)
    workers_only = coordinator = False


def stop(*_, **__):
    raise Stopped


def _keep_config(self, *args, **kwargs):
    Started.config = create_engine_config(self, *args, **kwargs)
    return Started.config


def _engines(*_, local_engine_count, start_index, local_start_index, **__):
    Started.engines = (local_engine_count, start_index, local_start_index)
    raise Stopped


def _workers_only(config, **_):
    Started.workers_only = True
    MultiprocExecutor._get_parallel_sizes(SimpleNamespace(parallel_config=config.parallel_config))
    raise Stopped


class _Coordinator:
    def __init__(self, *_, **__):
        Started.coordinator = True
        self.proc = SimpleNamespace(pid=0)

    get_engine_socket_addresses = staticmethod(lambda: ("", ""))
    get_stats_publish_address = staticmethod(lambda: "")


def launch(config, *_, **__):
    executor = Executor.get_class(config)
    Started.executor = executor.__name__
    if executor is MultiprocExecutor:
        MultiprocExecutor._get_parallel_sizes(SimpleNamespace(parallel_config=config.parallel_config))
    with launcher.launch_core_engines(config, executor, True, launcher.EngineZmqAddresses(inputs=[], outputs=[])):
        pass


def _single_server(args):
    launch(AsyncEngineArgs.from_cli_args(args).create_engine_config(usage_context=UsageContext.OPENAI_API_SERVER))


EngineArgs.create_engine_config = _keep_config
launcher.CoreEngineProcManager = serve.CoreEngineProcManager = _engines
launcher.CoreEngineActorManager = launcher.wait_for_engine_startup = stop
launcher.DPCoordinator = _Coordinator
launcher.zmq_socket_ctx = lambda *_, **__: contextlib.nullcontext()
launcher.bind_engine_zmq_listeners = lambda *_: SimpleNamespace(addresses=launcher.EngineZmqAddresses(inputs=[], outputs=[]))
vllm.distributed.utils.create_tcp_store = lambda *_, **__: SimpleNamespace(port=29700)
serve.MultiprocExecutor = _workers_only
serve.launch_core_engines = launch
serve.run_server = _single_server


def engine(config, dp_rank, local_dp_rank):
    """(configuration, class) of the engine core of one DP rank, as its process sees them."""
    config = copy.copy(config)
    config.parallel_config = copy.copy(config.parallel_config)
    found = []

    def reached(self, *_, vllm_config, **__):
        found.append((vllm_config, type(self).__name__))
        raise Stopped

    with mock.patch.object(core.EngineCoreProc, "__init__", reached), mock.patch.object(core.DPEngineCoreProc, "__init__", reached), \
            mock.patch.multiple(core, decorate_logs=lambda *_: None, set_process_title=lambda *_: None,
                                maybe_init_worker_tracer=lambda *_: None, maybe_register_config_serialize_by_value=lambda: None,
                                signal=SimpleNamespace(signal=lambda *_: None, SIGTERM=15, SIGINT=2, SIG_DFL=0, SIG_IGN=1)), \
            contextlib.suppress(Stopped):
        core.EngineCoreProc.run_engine_core(vllm_config=config, dp_rank=dp_rank, local_dp_rank=local_dp_rank)
    return found[0]


def device(config, local_rank):
    """CUDA index of one worker: Worker.init_device up to the choice."""
    import vllm.platforms.interface as interface
    worker = SimpleNamespace(device_config=SimpleNamespace(device_type="cuda"), parallel_config=config.parallel_config,
                             local_rank=local_rank, model_config=config.model_config, vllm_config=config, rank=local_rank,
                             distributed_init_method="")
    count = lambda: emulated_node.Node.gpus  # noqa: E731
    seen = SimpleNamespace(accelerator=SimpleNamespace(device_count=count, set_device_index=stop), device=torch.device,
                           cuda=SimpleNamespace(device_count=count, is_available=lambda: True), _C=torch._C)
    interface._assigned_physical_gpu_ids = None  # every worker is a process of its own
    with mock.patch.object(gpu_worker, "torch", seen), contextlib.suppress(Stopped):
        gpu_worker.Worker.init_device(worker)
    interface._assigned_physical_gpu_ids = None
    return worker.device.index


def global_rank(parallel, local_rank):
    """(rank, size) of torch's process group that a worker joins."""
    if parallel.world_size_across_dp <= 1:
        return 0, 1
    found = {}

    def join(**given):
        found.update(given)
        raise Stopped

    parallel._coord_store_port = 0
    with mock.patch.multiple(torch.distributed, init_process_group=join, is_initialized=lambda: False), \
            mock.patch.object(vllm.config, "get_current_vllm_config_or_none", lambda: SimpleNamespace(parallel_config=parallel)), \
            contextlib.suppress(Stopped):
        parallel_state.init_distributed_environment(
            world_size=parallel.world_size, rank=parallel.local_world_size * parallel.node_rank_within_dp + local_rank,
            local_rank=local_rank, distributed_init_method="tcp://127.0.0.1:1", backend="nccl")
    return found["rank"], found["world_size"]


def workers():
    """([DP rank, CUDA index, global rank, world size] of every worker, class of the engine core)"""
    config, rows, kind = Started.config, [], None
    if Started.workers_only:
        engines = [(config.parallel_config.data_parallel_rank, config)]
    else:
        count, first, local = Started.engines or (0, 0, 0)
        engines = []
        for i in range(count):
            of_rank, kind = engine(config, first + i, local + i)
            engines.append((first + i, of_rank))
    for dp_rank, of_rank in engines:
        parallel = of_rank.parallel_config
        rows += [[dp_rank, device(of_rank, local), *global_rank(parallel, local)] for local in range(parallel.local_world_size)]
    return rows, kind


def ask_node(node, args, model):
    Started.config = Started.executor = Started.engines = None
    Started.workers_only = Started.coordinator = False
    line = copy.deepcopy(ask_legality._defaults)
    line.model_tag = None
    for name, value in dict(args, model=model, load_format="dummy", skip_tokenizer_init=True).items():
        setattr(line, name, value)
    try:
        with contextlib.suppress(Stopped):
            serve.ServeSubcommand.cmd(line)
        rows, kind = workers()
    except Exception as error:  # noqa: BLE001 - whatever vLLM raises is its answer
        return {"node": node, "accept": False, "message": str(error)[:200]}
    parallel = Started.config.parallel_config
    return {"node": node, "accept": True, "data_parallel_size_local": parallel.data_parallel_size_local,
            "data_parallel_rank": parallel.data_parallel_rank, "executor": Started.executor, "engine_core": kind,
            "headless_workers_only": Started.workers_only, "api_server_count": line.api_server_count,
            "dp_coordinator": Started.coordinator, "nnodes_within_dp": parallel.nnodes_within_dp,
            "node_rank_within_dp": parallel.node_rank_within_dp,
            "data_parallel_external_lb": parallel.data_parallel_external_lb,
            "data_parallel_hybrid_lb": parallel.data_parallel_hybrid_lb, "workers": rows}


def main():
    options = arguments.parse(__doc__, models=True)
    with open(options.cases) as cases, open(options.out, "w") as out:
        for case in map(json.loads, cases):
            given = case["input"]
            emulated_node.Node.become(given["node"]["gpu"], given["node"]["gpus"])
            model = os.path.join(options.models, given["model"])
            with contextlib.redirect_stdout(sys.stderr):
                nodes = [ask_node(node, args, model) for node, args in enumerate(given["commands"])]
            json.dump({"id": case["id"], "input": given, "expect": {"nodes": nodes}}, out)
            out.write("\n")


if __name__ == "__main__":
    main()
