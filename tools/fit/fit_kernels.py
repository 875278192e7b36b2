#!/usr/bin/env python3
"""Fits efficiency surfaces to the public kernel tables of aiconfigurator-core (NVIDIA, Apache-2.0).

usage: fit_kernels.py SYSTEMS_DIR OUT_DIR [system ...] [--holdout]

SYSTEMS_DIR  aiconfigurator_core/systems of the unpacked wheel. Its silicon_sample.csv is never read.
OUT_DIR      data/calibration: one kernels_SYSTEM.csv each (docs/formats/calibration.md)
--holdout    also print errors on held-out shapes
Needs numpy, scipy, pyarrow. latency of the tables is in ms, message sizes are in elements of the dtype."""
import argparse, os
import numpy as np
from grids import fit, never_falls, predict
from layers import mhc, quantisation, recurrent
from mamba import mamba
from sparse import sparse_attention
from tables import GEMM_AXES, L2, ROOF, SYSTEMS, Out, gemm_roof, never_faster, report, sel, table

# ---- GEMM ------------------------------------------------------------------------------------------------------------
def gemm(root, system, out, holdout):
    d = table(root, system, "gemm/vllm/*/gemm_perf.parquet")
    for dt in ("bfloat16", "fp8", "nvfp4"):
        s = sel(d, (d["gemm_dtype"] == dt) & (d["latency"] > 0))
        if not len(s["latency"]) or ROOF[system][{"bfloat16": 1, "fp8": 2, "nvfp4": 3}[dt]] == 0:
            continue
        m, n, k = (s[c].astype(float) for c in "mnk")
        roof, Z = gemm_roof(system, dt, m, n, k)
        y = np.log(never_faster(s["latency"] * 1e-3, m, n, k) / roof)
        X = (L2(m), L2(n), L2(k))
        if holdout:
            site = (n * 70001 + k).astype(np.int64)
            rng = np.random.default_rng(1); u = np.unique(site); te = np.isin(site, rng.choice(u, len(u) // 5, False))
            c, e = fit(y[~te], [x[~te] for x in X], GEMM_AXES, Z[~te])
            report(f"{system} gemm {dt} (held-out n,k)", y[te], predict(c, e, [x[te] for x in X], GEMM_AXES, Z[te]))
        c, e = fit(y, X, GEMM_AXES, Z)
        out.gemm[dt] = (c, e)
        out.grid(f"gemm_{dt}", d["_version"], len(y), GEMM_AXES, c, ("wave", "pad"), e)


# ---- attention -------------------------------------------------------------------------------------------------------
DEC_AXES = ([0, 2, 4, 5, 6, 7, 8, 9, 11], [3, 5, 7, 8, 9, 10, 11, 12, 13, 15, 17], [0, 1, 2, 3], [0, 1, 2, 3, 4, 5])
PRE_AXES = ([0, 2, 4, 6, 8], [4, 6, 7, 8, 9, 10, 11, 12, 14], [0, 2, 3, 4, 5, 6], [0, 2, 3, 4, 6])
KV = {"bfloat16": 2.0, "fp8": 1.0}


def attention(root, system, out, holdout):
    bw, bf, f8, f4, sms = ROOF[system]
    for phase, fam in (("generation", "decode"), ("context", "prefill")):
        d = table(root, system, f"attention/vllm/*/{phase}_attention_perf.parquet")
        if d is None:
            continue
        win = d["window_size"] if "window_size" in d else np.zeros(len(d["latency"]), int)
        for hd in (64, 128, 256):
            for kv in ("bfloat16", "fp8"):
                for w in sorted(set(win[d["head_dim"] == hd])):
                    q = sel(d, (d["head_dim"] == hd) & (d["kv_cache_dtype"] == kv) & (win == w) & (d["attn_dtype"] == "bfloat16") & (d["latency"] > 0))
                    if len(q["latency"]) < 300 or w > 2048:
                        continue
                    B, H, G = (q[c].astype(float) for c in ("batch_size", "num_heads", "num_key_value_heads"))
                    t = q["latency"] * 1e-3
                    if fam == "decode":
                        S = q["step"] + 1.0
                        Se = np.minimum(S, w) if w else S
                        roof = np.maximum(4 * B * H * hd * Se / bf, (2 * B * Se * G * hd * KV[kv] + 4 * B * H * hd) / bw) + 4e-6
                        X, axes = (L2(B), L2(S), L2(G), L2(H / G)), DEC_AXES
                    else:
                        S = q["isl"].astype(float)
                        pairs = np.where((w > 0) & (S > w), w * (S - w / 2), S * S / 2) if w else S * S / 2
                        roof = np.maximum(4 * B * H * hd * pairs / bf, (2 * H + 2 * G) * B * S * hd * 2 / bw) + 5e-6
                        X, axes = (L2(B), L2(S), L2(H), L2(H / G)), PRE_AXES
                    y = np.log(t / roof)
                    name = f"{fam}_hd{hd}_{kv}" + (f"_w{w}" if w else "")
                    if holdout:
                        head = (H * 1000 + G).astype(int); u = np.unique(head)
                        te = np.isin(head, np.random.default_rng(2).choice(u, max(1, len(u) // 4), False))
                        if te.any() and (~te).any():
                            c, _ = fit(y[~te], [x[~te] for x in X], axes)
                            report(f"{system} {name} (held-out heads)", y[te], predict(c, [], [x[te] for x in X], axes))
                    c, _ = fit(y, X, axes)
                    out.grid(name, d["_version"], len(y), axes, c, (), ())


# ---- MoE -------------------------------------------------------------------------------------------------------------
MOE_AXES = ([0, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 15, 17], [0, 2, 3, 4, 5, 6, 7, 9], [16, 18, 20, 21, 22, 23, 24, 26])
MOE_SHAPE_AXIS = [0, 2, 4, 6, 8, 10, 12, 14, 17]
# key: (moe_dtype, pattern of kernel_source) -> table name, bytes per weight, peak index
MOE_KINDS = [("bfloat16", "", "moe_bf16", 2.0, 1), ("fp8", "", "moe_fp8", 1.0, 2), ("fp8_block", "", "moe_fp8_block", 1.0, 2), ("nvfp4", "", "moe_nvfp4", 0.5625, 3),
             ("w4a16_mxfp4", "gptoss", "moe_mxfp4", 0.53125, 1), ("w4a16_mxfp4", "marlin", "moe_mxfp4_marlin", 0.53125, 1),
             ("w4a8_mxfp4_mxfp8", "", "moe_mxfp4_mxfp8", 0.53125, 2), ("int4_wo", "", "moe_int4", 0.53, 1)]


def moe_roof(system, bw_w, peak_i, T, h, i, topk, E, tp, ep):
    bw, peak = ROOF[system][0], ROOF[system][peak_i]
    P = np.maximum(T * topk / ep, 1e-9)
    El = E / ep
    A = El * (1 - (1 - 1 / np.maximum(El, 1.0001)) ** P)
    A = np.minimum(np.maximum(A, np.minimum(1.0, P)), El)
    ii = i / tp
    tf = 6 * P * h * ii / peak
    tm = (3 * A * h * ii * bw_w + 4 * P * h) / bw
    fc = tf / (tf + tm)
    pad = np.log(np.ceil(np.maximum(P / El, 1e-9) / 64) * 64 / np.maximum(P / El, 1.0)) * fc
    Z = np.stack([L2(topk) - 3, L2(h / ii) - 2, (ep > 1) * 1.0, L2(ep), pad], 1)
    return np.maximum(tf, tm) + 8e-6, P, El, Z


def moe(root, system, out, holdout):
    d = table(root, system, "moe/vllm/*/moe_perf.parquet")
    if d is None:
        return
    for dt, pat, name, wb, pk in MOE_KINDS:
        ks = np.char.find(np.char.lower(d["kernel_source"].astype(str)), pat) >= 0 if pat else np.ones(len(d["latency"]), bool)
        s = sel(d, (d["moe_dtype"] == dt) & ks & (d["latency"] > 0))
        if not len(s["latency"]) or ROOF[system][pk] == 0:
            continue
        # geometric mix of balanced and power-law expert loads at one point
        keys = np.stack([s[c].astype(float) for c in ("num_tokens", "hidden_size", "inter_size", "topk", "num_experts", "moe_tp_size", "moe_ep_size")], 1)
        u, inv = np.unique(keys, axis=0, return_inverse=True)
        inv = inv.ravel()
        num, den = np.zeros(len(u)), np.zeros(len(u))
        mix = (("balanced", .4), ("power_law_1.2", .6)) if (s["distribution"] == "balanced").any() else (("power_law_1.2", 1.),)
        for dist, wgt in mix:
            q = s["distribution"] == dist
            np.add.at(num, inv[q], wgt * np.log(s["latency"][q] * 1e-3)); np.add.at(den, inv[q], wgt)
        ok = den > .99
        u, lt = u[ok], num[ok]
        lt = np.log(never_faster(np.exp(lt), u[:, 0], *u[:, 1:].T))
        T, h, i, topk, E, tp, ep = u.T
        roof, P, El, Z = moe_roof(system, wb, pk, T, h, i, topk, E, tp, ep)
        y = lt - np.log(roof)
        X = (L2(np.maximum(P, 1)), L2(np.maximum(El, 1)), L2(h * i / tp))
        shapes = np.unique(u[:, 1:5], axis=0)
        zn = ("topk", "aspect", "ep", "log2ep", "pad")
        use = list(range(5)) if len(shapes) > 3 else [2, 3, 4]
        sid = np.array([np.where((shapes == r[1:5]).all(1))[0][0] for r in u])
        if holdout and len(shapes) > 3:
            py = np.zeros(len(y))
            for f in range(min(5, len(shapes))):
                te = np.isin(sid, np.arange(f, len(shapes), 5))
                c, e = fit(y[~te], [x[~te] for x in X], MOE_AXES, Z[~te][:, use])
                py[te] = predict(c, e, [x[te] for x in X], MOE_AXES, Z[te][:, use])
            report(f"{system} {name} (held-out shapes)", y, py)
        c, e = fit(y, X, MOE_AXES, Z[:, use])
        full = np.zeros(5); full[use] = e
        out.grid(name, d["_version"], len(y), MOE_AXES, c, zn, full)
        # residual of each tabulated model shape: over log2 pairs and log2 of the shard count, tensor- and expert-sharded apart
        p0 = predict(c, e, X, MOE_AXES, Z[:, use])
        for j, key in enumerate(shapes):
            q = sid == j
            rows = []
            for mode in (0, 1):
                qq = q & ((ep > 1) if mode else (ep == 1))
                ax = (MOE_SHAPE_AXIS, [0, 1, 2, 3, 5])
                sh = L2(ep if mode else tp)
                if qq.sum() < 5:
                    rows += [np.zeros(len(MOE_SHAPE_AXIS))] * 5
                    continue
                cc, _ = fit((y - p0)[qq], (L2(np.maximum(T[qq] * topk[qq], 1)), sh[qq]), ax, lam=0.2)
                rows += list(cc.reshape(len(MOE_SHAPE_AXIS), 5).T)
            out.shape([int(v) for v in key], rows)
        if holdout:
            report(f"{system} {name} (in sample, no shape term)", y, p0)


# ---- MLA: the attention core of the whole-module tables ----------------------------------------------------------------
# The module holds the projections as well, which are GEMMs: what grows with the context alone is the core.
MLA_LATENT, MLA_ROPE, MLA_QK, MLA_V = 512, 64, 192, 128  # DeepSeek-V3, the model of the tables
MLA_FLOOR = 9e-6
MLA_DEC_AXES = ([0, 2, 4, 6, 8, 10], [7, 9, 10, 11, 12, 13, 15, 17], [0, 2, 3, 4, 5, 7], [0, 1])
MLA_PRE_AXES = ([0, 2, 4, 6], [8, 9, 10, 11, 12, 13, 14], [0, 2, 3, 4, 5, 7], [0, 1])


def mla(root, system, out, holdout):
    bw, bf = ROOF[system][:2]
    for phase in ("generation", "context"):
        d = table(root, system, f"mla/vllm/*/mla_{phase}_module_perf.parquet")
        if d is None:
            continue
        B, H, t = d["batch_size"].astype(float), d["num_heads"].astype(float), d["latency"] * 1e-3
        kv = np.where(d["kv_cache_dtype"] == "fp8", 1.0, 2.0)
        kind = np.unique(d["gemm_type"], return_inverse=True)[1].ravel().astype(float)
        base = np.full(len(t), np.nan)
        if phase == "generation":
            S = d["step"] + 1.0
            roof = np.maximum((MLA_LATENT + MLA_ROPE) * S * B * kv / bw, 2 * B * H * (2 * MLA_LATENT + MLA_ROPE) * S / bf)
            site, name, axes = np.stack([B, H, kv, kind], 1), "mla_decode", MLA_DEC_AXES
        else:
            S = d["isl"].astype(float)
            roof = 2 * B * H * (MLA_QK + MLA_V) * S * S / 2 / bf
            site, name, axes = np.stack([B * S, H, kv, kind], 1), "mla_prefill", MLA_PRE_AXES
        ok = (d["step"] == 0) if phase == "context" else np.ones(len(t), bool)
        inv = np.unique(site, axis=0, return_inverse=True)[1].ravel()
        least = np.full(inv.max() + 1, np.inf)
        np.minimum.at(least, inv[ok], S[ok])
        for i in np.where(ok & (S <= 1.01 * least[inv]))[0]:
            base[inv == inv[i]] = t[i] - roof[i]
        # Short contexts are the floor; long ones count where the core is a good part of the module.
        core = t - base + MLA_FLOOR
        long = ok & (core > 0.35 * t)
        short = ok & (roof < 0.1 * MLA_FLOOR) if phase == "generation" else np.zeros(len(t), bool)
        y = np.where(long, np.log(np.maximum(core, 1e-9) / (roof + MLA_FLOOR)), 0.0)
        use = long | short
        X = (L2(B), L2(S), L2(H), L2(kv))
        if holdout:
            te = use & long & (H == 16)
            c, _ = fit(y[use & (H != 16)], [x[use & (H != 16)] for x in X], axes)
            report(f"{system} {name} (held-out heads 16)", y[te], predict(c, [], [x[te] for x in X], axes))
        c, _ = fit(y[use], [x[use] for x in X], axes, w=np.where(long, 1.0, 0.2)[use])
        work = (lambda b, s, h, v: np.maximum((MLA_LATENT + MLA_ROPE) * s * b * v / bw, 2 * b * h * (2 * MLA_LATENT + MLA_ROPE) * s / bf)) if phase == "generation" \
            else (lambda b, s, h, v: 2 * b * h * (MLA_QK + MLA_V) * s * s / 2 / bf)
        c = never_falls(c, [x[use] for x in X], axes, [lambda *k: work(*k) + MLA_FLOOR], (0, 1))
        out.grid(name, d["_version"], int(use.sum()), axes, c, (), ())


# ---- collectives -----------------------------------------------------------------------------------------------------
def collectives(root, system, out, holdout):
    x = np.arange(8, 31, 1.0)
    d = table(root, system, "comm/vllm/*/custom_allreduce_perf.parquet")
    if d is not None:
        for n in sorted(set(d["num_gpus"])):
            q = (d["num_gpus"] == n) & np.array([str(b) == "vllm_graph" for b in d["backend"]]) if "backend" in d else d["num_gpus"] == n
            if q.sum() < 5:
                continue
            o = np.argsort(d["message_size"][q])
            b = L2(d["message_size"][q][o] * 2.0); t = np.log(d["latency"][q][o] * 1e-3)
            t = np.minimum.accumulate(t[::-1])[::-1]  # lower envelope from the right: a larger message is never faster
            out.curve("custom_allreduce", d["_version"], int(n), x, np.interp(x, b, t))
    d = table(root, system, "comm/nccl/*/nccl_perf.parquet")
    if d is not None:
        for op in ("all_reduce", "all_gather", "reduce_scatter", "alltoall"):
            for n in sorted(set(d["num_gpus"])):
                q = (d["num_gpus"] == n) & (d["op_name"] == op) & (d["nccl_dtype"] == "half")
                if q.sum() < 5:
                    continue
                o = np.argsort(d["message_size"][q])
                b = L2(d["message_size"][q][o] * 2.0); t = np.log(d["latency"][q][o] * 1e-3)
                t = np.minimum.accumulate(t[::-1])[::-1]
                out.curve("nccl_" + op, d["_version"], int(n), x, np.interp(x, b, t))


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("systems_dir"); ap.add_argument("out_dir"); ap.add_argument("systems", nargs="*"); ap.add_argument("--holdout", action="store_true")
    a = ap.parse_args()
    for s in a.systems or SYSTEMS:
        out = Out(s)
        for f in (collectives, gemm, attention, moe, mla, recurrent, mamba, quantisation, mhc, sparse_attention):
            f(a.systems_dir, s, out, a.holdout)
        path = f"{a.out_dir}/kernels_{s}.csv"
        open(path, "w").write("\n".join(out.lines) + "\n")
        print(f"{path}: {os.path.getsize(path)} bytes", flush=True)


if __name__ == "__main__":
    main()
