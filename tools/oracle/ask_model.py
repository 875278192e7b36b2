"""What an installed vLLM builds for one rank of a deployment: whether its model class accepts the layout, the bytes it
holds, the KV cache specs of its layers and the plan of the engine core.

  python ask_model.py init|weights|adapters|offloaded|specs|plans CASES.jsonl OUT.jsonl --models DIR [--processes N]

init: tests/golden/legality/model_init.jsonl. weights: tests/golden/weights/cases.jsonl. adapters, offloaded:
tests/golden/weights. specs, plans: tests/golden/kv.
"""
import argparse
import contextlib
import copy
import itertools
import json
import multiprocessing
import os
import re
import sys
import traceback

import emulated_model

# Classes of parameters by name in vLLM's modules, the first that matches (docs/memory.md).
CLASSES = [(name, re.compile(pattern)) for name, pattern in [
    ("vision", r"(^|\.)(visual|vision_(tower|model|encoder|embedder)|audio_(tower|model)|mm_projector|multi_modal_projector|embed_vision|"
               r"embed_audio|vit|patch_merge_mlp|vit_large_projector|vit_downsampler\d?|(vision|img)_\w+)\."),
    ("mtp", r"(^|\.)mtp(\.|_)"),
    ("embedding", r"(embed_tokens|word_embeddings|\bwte|\bwpe|(^|\.)embeddings?|embed_in)\w*\."),
    ("lm_head", r"(^|\.)(lm_head|embed_out)\."),
    ("shared_experts", r"(^|\.)(shared_experts?|shared_mlp|share_expert)(_gate)?\."),
    ("router", r"(^|\.)(gate\.(weight|bias|e_score\w*|tid2eid)|router\.)|e_score_correction_bias|tid2eid"),
    ("routed_experts", r"\.experts\."),
    ("attention", r"layers\.\d+\.(qkv_proj|o_proj)\.|\.(self_attn|attn|attention|self_attention|linear_attn|mamba|conv|block_sparse_attn|"
                  r"kda|indexer|compressor|cross_attn|mixer(?!\.(up|down)_proj\.))\."),
    ("dense_mlp", r"^(?!.*norm).*\.(mlp|feed_forward|ffn|dense_mlp|block_sparse_moe|mixer|moe)\."),
    ("norm_other", "")]]
BUFFERS = ("cos_sin_cache", "_expert_map", "expert_map", "inv_freq")
ALLOCATION_BYTES = 512  # step of torch's caching allocator for CUDA


def plain(value):
    return str(value).removeprefix("torch.")


def engine_config(given, models):
    from vllm.engine.arg_utils import EngineArgs
    from vllm.usage.usage_lib import UsageContext
    args = dict(copy.deepcopy(given["args"]), model=os.path.join(models, given["model"]), skip_tokenizer_init=True, load_format="dummy")
    config = EngineArgs(**args).create_engine_config(UsageContext.OPENAI_API_SERVER)
    config.device_config.device_type = "cuda"
    return config


def refusal(error):
    with contextlib.suppress(Exception):  # pydantic wraps what vLLM raises
        error = error.errors()[0]["ctx"]["error"]
    places = [f"{frame.filename.split('/vllm/')[-1]}:{frame.name}" for frame in traceback.extract_tb(error.__traceback__)
              if "/vllm/" in frame.filename]
    return {"error": type(error).__name__, "where": places[-1] if places else None, "message": str(error)[:300]}


def init(given, models):
    stage = "config"
    try:
        config = engine_config(given, models)
        stage = "groups"
        with emulated_model.worker(config, given["global_rank"]):
            stage = "model"
            return {"accept": True, "parameters": sum(parameter.numel() for parameter in emulated_model.build(config).parameters())}
    except Exception as error:  # noqa: BLE001 - whatever vLLM raises is its answer
        return {"accept": False, "stage": stage} | refusal(error)


def parameter_class(name):
    return next(kind for kind, pattern in CLASSES if pattern.search(name))


def buffer_class(name):
    leaf = name.rsplit(".", 1)[-1]
    return leaf if leaf in BUFFERS else "kv_scales" if leaf.endswith("_scale") or "_scale_" in leaf else "other"


def weigh(model):
    """Every storage counts once, under the first name that holds it."""
    import torch
    seen = set()

    def new(tensors):
        for name, tensor in tensors:
            storage = tensor.untyped_storage()
            if storage._cdata not in seen:
                seen.add(storage._cdata)
                yield name, tensor, storage.nbytes()

    def total(rows, key, value):
        sums = {}
        for row in rows:
            sums[key(row)] = sums.get(key(row), 0) + value(row)
        return sums

    kind, size = (lambda row: parameter_class(row[0])), (lambda row: row[2])
    parameters, buffers = list(new(model.named_parameters())), list(new(model.named_buffers()))
    bare = list(new((None, value) for module in model.modules() for value in vars(module).values() if isinstance(value, torch.Tensor)))
    return {"param_bytes": sum(map(size, parameters)), "by_class": total(parameters, kind, size),
            "num_params": sum(tensor.numel() for _, tensor, _ in parameters),
            "num_params_by_class": total(parameters, kind, lambda row: row[1].numel()),
            "by_dtype": total(parameters, lambda row: plain(row[1].dtype), size),
            "buffer_bytes": total(buffers, lambda row: buffer_class(row[0]), size), "bare_tensor_bytes": sum(map(size, bare)),
            "rounded_512_bytes": sum(-(-size(row) // ALLOCATION_BYTES) * ALLOCATION_BYTES for row in parameters + buffers),
            "model_class": type(model).__name__}


def after_loading(model, config):
    """Runs what vLLM runs on every module once its weights are there. Needs no values: sizes do not depend on scales."""
    import torch
    from vllm.model_executor.layers.attention import is_deferred_attention_layer
    from vllm.model_executor.layers.quantization.base_config import QuantizeMethodBase

    class ScalesAreOne(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):
            if func in (torch.Tensor.item, torch.Tensor.__float__) and args[0].is_meta:
                return 1.0
            return True if func in (torch.Tensor.__bool__, torch.allclose) else func(*args, **(kwargs or {}))

    modules = list(model.modules())
    with torch.device("meta"), torch.no_grad(), ScalesAreOne():
        for module in modules:
            if isinstance(getattr(module, "quant_method", None), QuantizeMethodBase):
                module.quant_method.process_weights_after_loading(module)
        for module in filter(is_deferred_attention_layer, modules):
            module.process_weights_after_loading(config.model_config.dtype)
        if hasattr(model, "process_weights_after_loading"):
            model.process_weights_after_loading()


def weights(given, models):
    if "rank" not in given:
        return refused_at(given, models)
    config = engine_config(given, models)
    with emulated_model.worker(config, given["rank"]):
        model = emulated_model.build(config)
        if given.get("after_loading"):
            after_loading(model, config)
        return weigh(emulated_model.build_draft(config) if given.get("draft") else model)


def refused_at(given, models):
    try:
        config = engine_config(given, models)
    except Exception as error:  # noqa: BLE001
        return {"refused_at": "config"} | refusal(error)
    try:
        stage_specs(config)
    except Exception as error:  # noqa: BLE001
        return {"refused_at": "construct"} | refusal(error)
    return {"refused_at": None}


def adapters(given, models):
    """Bytes of the LoRA slots, and by wrapping class and module."""
    import torch
    from vllm.lora.layers import BaseLayerWithLoRA
    from vllm.lora.worker_manager import LRUCacheWorkerLoRAManager
    try:
        config = engine_config(given, models)
        with emulated_model.worker(config, given["rank"]):
            model = emulated_model.build(config)
            after_loading(model, config)
            if not getattr(model, "supports_lora", False):
                raise ValueError(f"{type(model).__name__} does not support LoRA yet.")
            manager = LRUCacheWorkerLoRAManager(config, torch.device("meta"), model.embedding_modules)
            with emulated_model._CudaIsMeta():
                manager.create_lora_manager(model, config)
    except Exception as error:  # noqa: BLE001 - whatever vLLM raises is its answer
        return {"refused": True} | refusal(error)
    slots, wrapped, seen = {}, {}, set()
    for name, module in manager._adapter_manager.model.named_modules():
        if not isinstance(module, BaseLayerWithLoRA):
            continue
        kind, size = type(module).__name__, 0
        for value in vars(module).values():
            for tensor in value if isinstance(value, (tuple, list)) else [value]:
                if isinstance(tensor, torch.Tensor) and tensor.untyped_storage()._cdata not in seen:
                    seen.add(tensor.untyped_storage()._cdata)
                    size += tensor.untyped_storage().nbytes()
        if size:
            slots[kind] = slots.get(kind, 0) + size
            leaf = name.rsplit(".", 1)[-1]
            wrapped[leaf] = wrapped.get(leaf, 0) + size
    return {"bytes": sum(slots.values()), "by_class": slots, "by_module": wrapped}


def offloaded(given, models):
    """What vLLM's offloader moves to the host while one rank's model is built, and the buffers that it leaves on the GPU."""
    import torch
    from vllm.model_executor.offloader import create_offloader, prefetch, set_offloader, uva

    class HostIsMeta(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):
            kwargs = dict(kwargs or {})
            if func in (torch.Tensor.copy_, torch.Tensor.pin_memory):
                return args[0]
            if str(kwargs.get("device")) == "cpu" and (func is torch.empty_strided or func is torch.Tensor.to):
                kwargs.pop("pin_memory", None)
                kwargs["device"] = "meta"
            return func(*args, **kwargs)

    uva.is_uva_available = lambda: True
    prefetch._ModuleOffloader.start_onload_to_static = lambda self: None
    uva.get_accelerator_view_from_cpu_tensor = lambda tensor: tensor
    config = engine_config(given, models)
    with emulated_model.worker(config, given["rank"]), HostIsMeta():
        offloader = create_offloader(config.offload_config)
        set_offloader(offloader)
        try:
            model = emulated_model.build(config)
            if given.get("after_loading"):
                after_loading(model, config)
            offloader.post_init()
        finally:
            set_offloader(None)
    pool = getattr(offloader, "buffer_pool", None)
    return {"offloader": type(offloader).__name__,
            "offloaded_bytes": getattr(offloader, "cpu_offload_bytes", None) or getattr(offloader, "total_offloaded_bytes", 0),
            "buffer_bytes": pool.total_bytes if pool else 0, "layers": len(getattr(offloader, "module_offloaders", ()))}


def stage_specs(config):
    """(KV cache specs of every pipeline stage, supported layouts, names of attention backends): what workers report"""
    from vllm.platforms import current_platform
    from vllm.v1.attention.backends.utils import get_supported_kv_cache_layouts
    from vllm.v1.worker.gpu.attn_utils import get_kv_cache_spec
    from vllm.v1.worker.worker_base import get_current_attn_backends
    parallel = config.parallel_config
    stages, names = [], set()
    for stage in range(parallel.pipeline_parallel_size):
        with emulated_model.worker(config, stage * parallel.tensor_parallel_size * parallel.prefill_context_parallel_size):
            model = [emulated_model.build(config)]  # its layers are to live until they are asked
            if config.speculative_config and stage == parallel.pipeline_parallel_size - 1:
                model.append(emulated_model.build_draft(config))
            if stage == 0:
                current_platform.update_block_size_for_backend(config)
            stages.append(get_kv_cache_spec(config))
            backends = list(get_current_attn_backends(config))
            names.update(backend.get_name() for backend in backends)
            layouts = [layout.name for layout in get_supported_kv_cache_layouts(backends)]
    return stages, layouts, sorted(names)


class Layout:
    """The layout asked about last: its plans share the models."""
    key = planner = backends = None

    @classmethod
    def of(cls, given, models):
        from kv_plans import Planner
        key = json.dumps([given["model"], given["args"]], sort_keys=True)
        if key != cls.key:
            config = engine_config(given, models)
            stages, layouts, cls.backends = stage_specs(config)
            cls.planner, cls.key = Planner(config, stages, layouts), key
        return cls


def specs(given, models):
    from kv_plans import described, resolved
    layout = Layout.of(given, models)
    return {"resolved": resolved(layout.planner.config), "attention_backends": layout.backends,
            "kv_cache_layout": layout.planner.layout, "stages": [described(stage) for stage in layout.planner.stages]}


def plans(given, models):
    return Layout.of(given, models).planner.plan(given["available_memory"])


ANSWERS = {"init": init, "weights": weights, "adapters": adapters, "offloaded": offloaded, "specs": specs, "plans": plans}


def answer_model(job):
    """Answers of one model's cases, in a process of their own: vLLM keeps things between models."""
    what, models, cases = job
    answered = []
    for case in cases:
        try:
            with contextlib.redirect_stdout(sys.stderr):
                expect = ANSWERS[what](case["input"], models)
        except Exception as error:  # noqa: BLE001
            traceback.print_exc()
            expect = refusal(error)
        answered.append((case["id"], expect))
    return answered


def answer_capability(capability, jobs, processes, answers):
    emulated_model.become(capability)
    import torch
    import vllm.engine.arg_utils
    import vllm.v1.worker.gpu.attn_utils  # noqa: F401 - once, before processes part
    torch.set_num_threads(1)
    with multiprocessing.get_context("fork").Pool(processes, maxtasksperchild=1) as pool:
        for answered in pool.imap_unordered(answer_model, jobs):
            answers.put(answered)
    answers.put(None)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=ANSWERS)
    parser.add_argument("cases")
    parser.add_argument("out")
    parser.add_argument("--models", required=True)
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    options = parser.parse_args()
    with open(options.cases) as file:
        cases = list(map(json.loads, file))
    order = lambda case: (case["input"]["compute_capability"], case["input"]["model"], json.dumps(case["input"]["args"]))  # noqa: E731
    answers, found = multiprocessing.get_context("fork").Queue(), {}
    for capability, same in itertools.groupby(sorted(cases, key=order), key=lambda case: case["input"]["compute_capability"]):
        jobs = [(options.what, options.models, list(of_model))
                for _, of_model in itertools.groupby(same, key=lambda case: case["input"]["model"])]
        process = multiprocessing.get_context("fork").Process(target=answer_capability, args=(capability, jobs, options.processes, answers))
        process.start()
        for answered in iter(answers.get, None):
            found.update(answered)
        process.join()
    with open(options.out, "w") as out:
        for case in cases:
            json.dump({"id": case["id"], "input": case["input"], "expect": found[case["id"]]}, out, default=str)
            out.write("\n")


if __name__ == "__main__":
    main()
