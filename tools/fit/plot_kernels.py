#!/usr/bin/env python3
"""Draws measured kernels and the fitted surfaces of data/calibration: one SVG a family.

usage: plot_kernels.py SYSTEMS_DIR CALIBRATION_DIR OUT_DIR

SYSTEMS_DIR as for fit_kernels.py. Dots are measured, lines the fit. Needs numpy, scipy, pyarrow, matplotlib."""
import argparse
import os

import fit_kernels as kernels
import layers
import mamba
import matplotlib
import numpy as np
import sparse
import tables as measured
from grids import predict

matplotlib.use("svg")
import matplotlib.pyplot as plt  # noqa: E402

SYSTEMS = ["h100_sxm", "b200_sxm"]
NAMES = {"h100_sxm": "H100-SXM", "b200_sxm": "B200"}
L2 = np.log2


def read_surfaces(path):
    """{table: (axes, grid values, {z name: value})} and {curve key: (axis, values)} of one kernels_SYSTEM.csv."""
    tables, curves, table, curve = {}, {}, None, None
    for line in open(path):
        kind, *cells = line.strip().split(",")
        if kind == "table":
            table, curve = (tables.setdefault(cells[0], ([], [], {}))), None
        elif kind == "curve":
            table, curve = None, curves.setdefault((cells[0], int(cells[2])), [])
        elif kind == "shape":
            table = curve = None  # corrections at one model's shape: not drawn
        elif kind == "axis":
            values = [float(x) for x in cells]
            (table[0] if table is not None else curve).append(values)
        elif kind in ("z", "zg") and table is not None:
            table[2][cells[0]] = float(cells[1])
        elif kind == "v":
            if table is not None:
                table[1].extend(float(x) / 1000 for x in cells)
            elif curve is not None:
                curve.append([float(x) / 1000 for x in cells])
    return tables, curves


def surface(tables, name, coords, features=None, names=()):
    axes, grid, z = tables[name]
    return predict(np.array(grid), np.array([z[n] for n in names]), coords, axes, features)


def curve_of(ax, x, measured, at, fitted, label, color):
    ax.plot(x, measured * 1e6, "o", ms=3, color=color, alpha=0.7)
    ax.plot(at, fitted * 1e6, "-", lw=1.2, color=color, label=label)


def gemm(ax, root, system, tables):
    for color, (dtype, n, k) in enumerate([("bfloat16", 8192, 8192), ("bfloat16", 2048, 4096), ("fp8", 8192, 8192)]):
        d = kernels.table(root, system, "gemm/vllm/*/gemm_perf.parquet")
        q = kernels.sel(d, (d["gemm_dtype"] == dtype) & (d["n"] == n) & (d["k"] == k) & (d["latency"] > 0))
        at = 2 ** np.linspace(0, 14, 57)
        full = np.full(len(at), 1.0)
        roof, z = kernels.gemm_roof(system, dtype, at, n * full, k * full)
        fitted = roof * np.exp(surface(tables, f"gemm_{dtype}", (L2(at), L2(n * full), L2(k * full)), z, ("wave", "pad")))
        curve_of(ax, q["m"], q["latency"] * 1e-3, at, fitted, f"{dtype} n={n} k={k}", f"C{color}")
    ax.set_xlabel("m (tokens)")


def attention(family):
    def draw(ax, root, system, tables):
        phase = {"decode": "generation", "prefill": "context"}[family]
        d = kernels.table(root, system, f"attention/vllm/*/{phase}_attention_perf.parquet")
        bw, peak = kernels.ROOF[system][:2]
        for color, (batch, heads, groups) in enumerate([(1, 8, 1), (16, 8, 1), (16, 32, 8)] if family == "decode" else [(1, 8, 1), (1, 32, 8), (8, 8, 1)]):
            q = kernels.sel(d, (d["head_dim"] == 128) & (d["kv_cache_dtype"] == "bfloat16") & (d["window_size"] == 0) & (d["attn_dtype"] == "bfloat16")
                            & (d["batch_size"] == batch) & (d["num_heads"] == heads) & (d["num_key_value_heads"] == groups) & (d["latency"] > 0))
            at = 2 ** np.linspace(*((3, 17, 57) if family == "decode" else (4, 14, 41)))
            full = np.ones(len(at))
            if family == "decode":
                roof = np.maximum(4 * batch * heads * 128 * at / peak, (2 * batch * at * groups * 128 * 2 + 4 * batch * heads * 128) / bw) + 4e-6
                coords, x = (L2(batch * full), L2(at), L2(groups * full), L2(heads / groups * full)), q["step"] + 1
            else:
                roof = np.maximum(4 * batch * heads * 128 * at * at / 2 / peak, (2 * heads + 2 * groups) * batch * at * 128 * 2 / bw) + 5e-6
                coords, x = (L2(batch * full), L2(at), L2(heads * full), L2(heads / groups * full)), q["isl"]
            curve_of(ax, x, q["latency"] * 1e-3, at, roof * np.exp(surface(tables, f"{family}_hd128_bfloat16", coords)),
                     f"{batch} sequences, {heads} heads ({groups} KV)", f"C{color}")
        ax.set_xlabel("context (tokens)" if family == "decode" else "prompt (tokens)")
    return draw


def experts(ax, root, system, tables):
    d = kernels.table(root, system, "moe/vllm/*/moe_perf.parquet")
    shapes = [("bfloat16", "moe_bf16", 2.0, 1, 1), ("bfloat16", "moe_bf16", 2.0, 1, 8), ("fp8_block", "moe_fp8_block", 1.0, 2, 1)]
    names = ("topk", "aspect", "ep", "log2ep", "pad")
    for color, (dtype, name, bytes_, peak, ep) in enumerate(shapes):
        q = kernels.sel(d, (d["moe_dtype"] == dtype) & (d["distribution"] == "power_law_1.2") & (d["moe_tp_size"] == 1) & (d["moe_ep_size"] == ep) & (d["latency"] > 0))
        if not len(q["latency"]) or name not in tables:
            continue
        keys = np.stack([q[c] for c in ("hidden_size", "inter_size", "topk", "num_experts")], 1)
        shape = np.unique(keys, axis=0)[0]
        q = kernels.sel(q, (keys == shape).all(1))
        h, i, topk, count = (float(v) for v in shape)
        at = 2 ** np.linspace(0, 15, 61)
        full = np.ones(len(at))
        roof, pairs, local, z = kernels.moe_roof(system, bytes_, peak, at, h * full, i * full, topk * full, count * full, full, ep * full)
        coords = (L2(np.maximum(pairs, 1)), L2(np.maximum(local, 1)), L2(h * i * full))
        curve_of(ax, q["num_tokens"], q["latency"] * 1e-3, at, roof * np.exp(surface(tables, name, coords, z, names)),
                 f"{dtype} {count:.0f} x {h:.0f} x {i:.0f}, top {topk:.0f}, EP {ep}", f"C{color}")
    ax.set_xlabel("tokens")


def collectives(ax, root, system, curves):
    sources = [("custom_allreduce", "comm/vllm/*/custom_allreduce_perf.parquet", None, 8), ("nccl_all_reduce", "comm/nccl/*/nccl_perf.parquet", "all_reduce", 8),
               ("nccl_alltoall", "comm/nccl/*/nccl_perf.parquet", "alltoall", 8)]
    for color, (name, pattern, op, gpus) in enumerate(sources):
        d = kernels.table(root, system, pattern)
        q = (d["num_gpus"] == gpus) & (d["latency"] > 0)
        q &= (d["op_name"] == op) & (d["nccl_dtype"] == "half") if op else np.array([str(b) == "vllm_graph" for b in d["backend"]])
        axis, values = curves[name, gpus]
        curve_of(ax, d["message_size"][q] * 2.0, d["latency"][q] * 1e-3, 2 ** np.array(axis), np.exp(np.array(values)), f"{name}, {gpus} GPUs", f"C{color}")
    ax.set_xlabel("bytes")


def recurrent(ax, root, system, surfaces):
    for color, (family, phase, Hv, Hk) in enumerate([("gdn", "generation", 32, 16), ("kda", "generation", 24, 24), ("gdn", "context", 32, 16), ("kda", "context", 24, 24)]):
        B, S, k, v, t, _ = layers.state_layers(root, system, family, phase)
        q = (v == Hv) & (k == Hk) & (B == 1 if phase == "context" else True)
        at = 2 ** np.linspace(0, 10 if phase == "generation" else 15, 41)
        batch, length = (at, at) if phase == "generation" else (np.ones(len(at)), at)
        full = np.ones(len(at))
        coords = (L2(batch), *((L2(length),) if phase == "context" else ()), L2(Hv * full), L2(Hv / Hk * full))
        roof = layers.state_roof(system, phase, batch, length, Hv * full, Hk * full, 128, 128, 4)
        name = f"{family}_{'decode' if phase == 'generation' else 'prefill'}"
        curve_of(ax, (B if phase == "generation" else S)[q], t[q], at, roof * np.exp(surface(surfaces, name, coords)), f"{name}, {Hv} heads", f"C{color}")
    ax.set_xlabel("sequences, or tokens of one prompt")


def sparse_cores(phase):
    def draw(ax, root, system, surfaces):
        out = measured.Out(system)
        for dtype, name in (("bfloat16", "gemm_bfloat16"), ("fp8", "gemm_fp8")):
            axes, grid, z = surfaces[name]
            out.gemm[dtype] = (np.array(grid), np.array([z["wave"], z["pad"]]))
        for color, (family, model) in enumerate([("dsa", "deepseek-ai/DeepSeek-V3.2"), ("msa", "MiniMaxAI/MiniMax-M3"), ("csa", "Flash"), ("hca", "Flash")]):
            spec = sparse.families()[family][2][model]
            B, S, pairs, H, kv, t, _, _, past, _ = sparse.core_rows(root, system, out, family, phase, only=model)
            batch = 64 if phase == "decode" else 1
            q = (B == batch) & (H == 16) & (kv == 1) & ((phase == "decode") | (past == 0))
            at = 2 ** np.linspace(*((1, 17, 57) if phase == "decode" else (2, 15, 53)))
            full = np.ones(len(at))
            spread = at if phase == "decode" else at * at / 2
            coords = (*sparse.where(phase, batch * full, at, spread), L2(16 * full), 0 * full)
            roof = sparse.core_of(family, 16 * full, full, spec).roof(system, phase, batch * full, at, spread)
            curve_of(ax, S[q], t[q], at, roof * np.exp(surface(surfaces, f"{family}_{phase}", coords)), f"{family}, {batch} x, 16 heads", f"C{color}")
        ax.set_xlabel("context (tokens)" if phase == "decode" else "prompt (tokens)")
    return draw


def small_kernels(ax, root, system, surfaces):
    m, k, t, _ = layers.quant_rows(root, system)
    at = 2 ** np.linspace(0, 15, 61)
    full = np.ones(len(at))
    for color, width in enumerate((1024, 4096, 16384)):
        q = k == width
        curve_of(ax, m[q], t[q], at, layers.quant_roof(system, at, width * full) * np.exp(surface(surfaces, "quant_fp8", (L2(at), L2(width * full)))), f"fp8 quantisation, {width} wide", f"C{color}")
    n, h, t, _ = layers.mhc_rows(root, system)
    q = h == 7168
    curve_of(ax, n[q], t[q], at, layers.mhc_roof(system, at, 7168 * full) * np.exp(surface(surfaces, "mhc", (L2(at), L2(7168 * full)))), "hyper-connections of a layer, 7168", "C3")
    ax.set_xlabel("tokens")


def mamba_layers(surfaces, path):
    """Mamba2 on the one GPU it was measured on: decode left, one prompt right."""
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.2))
    for ax, prompts in zip(axes, (False, True)):
        d = mamba.rows("mamba2_prefill" if prompts else "mamba2_decode")
        for color, (shape, state_bytes) in enumerate([("Nemotron-3-Super", 4), ("Nemotron-3-Nano TP2", 4), ("Granite-4.0-H-Small", 2), ("Falcon-H1-34B", 2)]):
            q = (d["shape"] == shape) & (d["state_bytes"] == state_bytes) & ((d["sequences"] == 1) if prompts else True)
            at = 2 ** (np.linspace(6, 14, 41) if prompts else np.linspace(0, 10, 41))
            line = {k: np.full(len(at), v[q][0]) for k, v in d.items() if k not in ("version", "shape", "seconds")}
            line |= {"tokens": at, "sequences": np.ones(len(at)) if prompts else at}
            fitted = mamba.roof(line, prompts) * np.exp(surface(surfaces, "mamba2_prefill" if prompts else "mamba2_decode", mamba.features(line, prompts)))
            curve_of(ax, d["tokens"][q], d["seconds"][q], at, fitted, f"{shape}, {state_bytes}-byte states", f"C{color}")
        ax.set(xscale="log", yscale="log", xlabel="tokens of one prompt" if prompts else "sequences", title=f"H100-SXM, Mamba2 {'prompts' if prompts else 'decode'}")
        ax.legend(fontsize=6)
    axes[0].set_ylabel("microseconds")
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("systems_dir")
    parser.add_argument("calibration_dir")
    parser.add_argument("out_dir")
    o = parser.parse_args()
    os.makedirs(o.out_dir, exist_ok=True)
    plt.rcParams.update({"svg.hashsalt": "kernels", "svg.fonttype": "none", "font.size": 8, "axes.grid": True, "grid.alpha": 0.25})
    surfaces = {s: read_surfaces(f"{o.calibration_dir}/kernels_{s}.csv") for s in SYSTEMS}
    for family, draw, which in [("gemm", gemm, 0), ("decode_attention", attention("decode"), 0), ("prefill_attention", attention("prefill"), 0),
                                ("experts", experts, 0), ("collectives", collectives, 1), ("recurrent", recurrent, 0),
                                ("sparse_decode", sparse_cores("decode"), 0), ("sparse_prefill", sparse_cores("prefill"), 0), ("small_kernels", small_kernels, 0)]:
        figure, axes = plt.subplots(1, len(SYSTEMS), figsize=(9, 3.2), sharey=True)
        for ax, system in zip(axes, SYSTEMS):
            draw(ax, o.systems_dir, system, surfaces[system][which])
            ax.set(xscale="log", yscale="log", title=NAMES[system])
            ax.legend(fontsize=6)
        axes[0].set_ylabel("microseconds")
        figure.tight_layout()
        figure.savefig(f"{o.out_dir}/{family}.svg", metadata={"Date": None})
        plt.close(figure)
        print(family)
    mamba_layers(surfaces[mamba.SYSTEM][0], f"{o.out_dir}/mamba.svg")


if __name__ == "__main__":
    main()
