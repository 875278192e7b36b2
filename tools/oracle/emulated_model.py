"""vLLM's own model classes built for one rank of a deployment, without a GPU: on torch's meta device, which holds shapes and
types but no values.

Import before anything else of vLLM. Beyond the node of emulated_node.py, what a CUDA build of vLLM and the packages it
depends on would bring is said to be there, so that vLLM chooses the backends it chooses on a GPU. Asking a kernel whether it
supports something is answered; running one is an error. Process groups are vLLM's, over torch's `fake` backend.
"""
import contextlib
import importlib.metadata
import os
import re
import sys
import types
from types import SimpleNamespace

from stand_ins import Anything, Finder

# Languages that kernels are written in: read while modules define their kernels, never called.
LANGUAGES = ("cutlass", "tilelang", "tvm", "quack", "vllm.vllm_flash_attn.cute")
# Kernels: packages that a CUDA build depends on, and its own extensions that emulated_node.py does not name.
PACKAGES = ("flashinfer", "triton_kernels", "vllm._flashkda_C")
OPERATORS = {"_C", "_moe_C", "_C_cache_ops", "_C_custom_ar", "_C_utils", "_C_stable_libtorch", "_vllm_fa2_C", "_vllm_fa3_C", "_flashmla_C",
             "_flashmla_extension_C", "_qutlass_C", "_flashkda_C"}
os.environ.setdefault("VLLM_HAS_FLASHINFER_CUBIN", "1")  # from 0.33 FlashInfer counts only with its kernels
GPUS = {"9.0": "H100", "10.0": "B200"}  # compute capability: the GPU that stands for it
QUESTIONS = {  # that packages answer without a kernel
    "get_device_sm_count": lambda *_: emulated_node.GPUS[emulated_node.Node.gpu][3],
    "get_trtllm_gen_multi_ctas_kv_counter_bytes": lambda *_, **__: 0,  # scratch of attention, allocated after the weights
}
SHARED_MEMORY_BYTES = 232448  # a kernel's most on 9.0 and 10.0 (CUDA C++ programming guide, compute capabilities)


def _required(package, otherwise):
    """The version of a package that the CUDA wheel asks for: in the metadata where that wheel was unpacked."""
    for line in importlib.metadata.requires("vllm") or []:
        if found := re.match(rf"{package}==([\w.]+)", line):
            return found[1]
    return otherwise


VERSIONS = {"flashinfer": _required("flashinfer-python", "0.6.12")}  # 0.32.0's, whose CPU wheel does not say


class _NoKernel(RuntimeError):
    pass


class _Members(type):
    """A class whose attributes are their own names, as an enumeration's."""

    def __getattr__(cls, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return f"{cls.__name__}.{name}"


def _kernel(name):
    def call(*_, **__):
        raise _NoKernel(f"{name} would run on a GPU")
    call.__name__ = name
    return call


class _Module(types.ModuleType):
    def __getattr__(self, name):
        root = self.__name__.split(".")[0]
        if name == "__version__" and root in VERSIONS:
            return VERSIONS[root]
        language = self.__name__.startswith(LANGUAGES)
        if name.startswith("__") and not (language and name == "__version__"):
            raise AttributeError(name)
        if language:
            return Anything()
        if name in QUESTIONS:
            return QUESTIONS[name]
        return _Members(name, (), {}) if name[0].isupper() else _kernel(name)


class _Operator:
    """A compiled operator that is not there: says that it supports what it is asked about, and needs no workspace."""

    def __init__(self, name):
        self.__name__ = name

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return self

    def __call__(self, *_, **__):
        if "support" in self.__name__:
            return True
        return 0 if "workspace_size" in self.__name__ else _kernel(self.__name__)()


sys.meta_path.append(Finder(LANGUAGES + PACKAGES, _Module))
import emulated_node  # noqa: E402
import torch  # noqa: E402
import torch.distributed as dist  # noqa: E402
from torch.overrides import TorchFunctionMode  # noqa: E402
from torch.testing._internal.distributed.fake_pg import FakeStore  # noqa: E402


def _device():
    """The node's GPU as torch and Triton would see it."""
    name, capability, mib, processors = emulated_node.GPUS[emulated_node.Node.gpu]
    properties = SimpleNamespace(name=name, major=capability[0], minor=capability[1], total_memory=mib * emulated_node.MIB,
                                 multi_processor_count=processors, is_integrated=False, warp_size=32,
                                 shared_memory_per_block_optin=SHARED_MEMORY_BYTES)
    platform = type(sys.modules["vllm.platforms"].current_platform)
    platform.get_device_communicator_cls = classmethod(
        lambda cls: "vllm.distributed.device_communicators.base_device_communicator.DeviceCommunicatorBase")
    platform.import_kernels = platform.set_device = classmethod(lambda cls, *_: None)
    nothing = lambda kind: type(kind, (), {"__init__": lambda self, *_, **__: None})  # noqa: E731
    for attribute, value in {
            "get_device_capability": lambda *_: capability, "get_device_name": lambda *_: name, "is_available": lambda: True,
            "device_count": lambda: emulated_node.Node.gpus, "current_device": lambda: 0, "Stream": nothing("Stream"),
            "Event": nothing("Event"), "get_device_properties": lambda *_: properties}.items():
        setattr(torch.cuda, attribute, value)
    torch.cuda.current_stream = lambda *_: torch.cuda.Stream()
    from triton.runtime import driver
    target = SimpleNamespace(backend="cuda", arch=capability[0] * 10 + capability[1], warp_size=32)
    sizes = {"multiprocessor_count": processors, "max_shared_mem": SHARED_MEMORY_BYTES, "warpSize": 32}
    driver.set_active(SimpleNamespace(get_current_target=lambda: target, get_current_device=lambda: 0,
                                      get_active_torch_device=lambda: torch.device("cuda", 0),
                                      utils=SimpleNamespace(get_device_properties=lambda _: sizes)))


def _operators():
    import vllm._custom_ops  # noqa: F401 - registers the operators that vLLM defines in Python
    known = torch._ops._OpNamespace.__getattr__

    def operator(self, name):
        try:
            return known(self, name)
        except AttributeError:
            if self.name in OPERATORS and not name.startswith("__"):
                return _Operator(name)
            raise
    torch._ops._OpNamespace.__getattr__ = operator


def _packages():
    import vllm.utils.deep_gemm as deep_gemm
    import vllm.utils.flashinfer as flashinfer
    import vllm.utils.import_utils as imports
    import vllm.vllm_flash_attn.flash_attn_interface as flash_attention
    flash_attention.FA4_UNAVAILABLE_REASON = None
    for name in dir(flashinfer):  # those of compute capability 12.0 answer for themselves
        if name.startswith("has_flashinfer") and "sm120" not in name and "b12x" not in name:
            setattr(flashinfer, name, lambda *_: True)
    flashinfer.has_nvidia_artifactory = lambda: True
    imports.has_deep_gemm = deep_gemm.has_deep_gemm = imports.has_triton_kernels = lambda *_: True
    imports.get_triton_kernels_version = lambda: "3.6"


def _model_loader():
    import vllm.model_executor.layers.fused_moe.expert_map_manager as experts
    import vllm.model_executor.model_loader.utils as loader
    loader.record_metadata_for_reloading = lambda model: None  # of no use here, and slow
    torch.compile = lambda of=None, **_: of if of is not None else lambda of: of
    manage = experts.ExpertMapManager.__init__

    def with_values(self, *args, **kwargs):  # construction reads the values of expert maps
        with torch.device("cpu"):
            manage(self, *args, **kwargs)
    experts.ExpertMapManager.__init__ = with_values


def _process_groups():
    import vllm.distributed.parallel_state as state
    new_group, new_parallel_group = dist.new_group, state.init_model_parallel_group
    dist.new_group = lambda ranks=None, *_, **__: new_group(ranks, backend="fake")
    state._node_count = lambda _: 1
    state.in_the_same_node_as = lambda *_: [True] * dist.get_world_size()

    def without_queues(*args, **kwargs):
        kwargs.pop("use_all2all", None)
        return new_parallel_group(*args, **dict(kwargs, use_message_queue_broadcaster=False))
    state.init_model_parallel_group = without_queues


def become(capability):
    """Once in a process: vLLM and Triton remember what the first question found."""
    emulated_node.Node.become(GPUS[capability], 1024)
    for part in (_device, _operators, _packages, _model_loader, _process_groups):
        part()


@contextlib.contextmanager
def worker(config, global_rank):
    """The process of one worker, in its groups."""
    import vllm.distributed.parallel_state as state
    from vllm.config import set_current_vllm_config
    from vllm.distributed.eplb import eplb_communicator  # noqa: F401
    parallel = config.parallel_config
    state.destroy_model_parallel()
    state._WORLD = None
    if dist.is_initialized():
        dist.destroy_process_group()
    dist.init_process_group("fake", rank=global_rank, world_size=parallel.world_size_across_dp, store=FakeStore())
    parallel.data_parallel_rank, parallel.rank = divmod(global_rank, parallel.world_size)
    parallel.data_parallel_index = parallel.data_parallel_rank
    with set_current_vllm_config(config):
        state.init_distributed_environment(world_size=parallel.world_size, rank=parallel.rank, local_rank=0, backend="fake",
                                           distributed_init_method="tcp://127.0.0.1:1")
        state.initialize_model_parallel(parallel.tensor_parallel_size, parallel.pipeline_parallel_size,
                                        parallel.prefill_context_parallel_size, parallel.decode_context_parallel_size, backend="fake")
        yield


class _CudaIsMeta(TorchFunctionMode):
    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if isinstance(kwargs.get("device"), int) or "cuda" in str(kwargs.get("device")):
            kwargs["device"] = torch.device("meta")
        return func(*args, **kwargs)


def build(config, model_config=None):
    """The model of the worker at hand (inside `worker`)."""
    from vllm.config import set_current_vllm_config
    from vllm.model_executor.model_loader.utils import initialize_model
    from vllm.utils.torch_utils import set_default_torch_dtype
    from vllm.v1.worker import workspace
    workspace.init_workspace_manager(torch.device("meta"))
    if model_config is None:
        config.compilation_config.static_forward_context.clear()
    with set_default_torch_dtype(config.model_config.dtype), torch.device("meta"), _CudaIsMeta(), set_current_vllm_config(config):
        return initialize_model(vllm_config=config, model_config=model_config)


def build_draft(config):
    """Its draft model, as the proposer builds it: before it shares anything with the model, which is built already."""
    from vllm.config import replace
    speculative = config.speculative_config
    attention = replace(config.attention_config, backend=speculative.attention_backend)
    return build(replace(config, attention_config=attention), speculative.draft_model_config)
