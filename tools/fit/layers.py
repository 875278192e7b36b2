"""Surfaces of recurrent layers (GDN, KDA), of activation quantisation and of DeepSeek-V4's hyper-connections."""
import numpy as np
from grids import fit, never_falls, predict
from tables import L2, ROOF, never_faster, report, sel, table

# ---- recurrent states --------------------------------------------------------------------------------------------------
# One row is one kernel; a layer runs the convolution and the recurrence of its phase.
STATE_DECODE_FLOOR, STATE_PREFILL_FLOOR = 5e-6, 14e-6
HEADS_AXIS, RATIO_AXIS = [0, 1, 2, 3, 4, 5, 6, 7], [0, 1, 2]
STATE_DEC_AXES = ([0, 2, 3, 4, 5, 6, 7, 8, 10], HEADS_AXIS, RATIO_AXIS)
STATE_PRE_AXES = ([0, 1, 2, 3, 4, 6, 8], [0, 4, 6, 7, 8, 9, 10, 11, 12, 13, 15], HEADS_AXIS, RATIO_AXIS)
STATE_KERNELS = {"gdn": {"generation": ("causal_conv1d_update", "fused_recurrent_gated_delta_rule_packed_decode"), "context": ("causal_conv1d_fn", "chunk_gated_delta_rule")},
                 "kda": {"generation": ("causal_conv1d_update", "fused_recurrent_kda_packed_decode"), "context": ("causal_conv1d_fn", ("flashkda", "chunk_kda"))}}
HOST_BOUND = 100e-6  # a convolution of one token takes 3 us: slower tables timed the launches of the CPU


def state_roof(system, phase, B, S, Hv, Hk, dv, dk, conv):
    """States of fp32 read and written, 16-bit convolution windows; 16-bit tokens in and out of both kernels."""
    bw, peak = ROOF[system][:2]
    elements, channels = Hv * dv * dk, Hv * dv + 2 * Hk * dk
    state = 2 * 4 * elements + 2 * 2 * channels * conv
    if phase == "generation":
        return B * state / bw + STATE_DECODE_FLOOR
    return np.maximum(8 * B * S * elements / peak, (B * state + 8 * B * S * channels) / bw) + STATE_PREFILL_FLOOR


def kernel_rows(d, phase, pattern):
    """{(batch, length, k heads, v heads): seconds}: the slowest of equal shapes that differ in the hidden size alone."""
    names = (pattern,) if isinstance(pattern, str) else pattern
    q = (d["phase"] == phase) & np.array([str(k).startswith(names) for k in d["kernel_source"]]) & (d["latency"] > 0)
    out = {}
    for key, t in zip(zip(*(d[c][q].tolist() for c in ("batch_size", "seq_len", "num_k_heads", "num_v_heads"))), d["latency"][q] * 1e-3):
        out.setdefault(key, []).append(t)
    return {k: float(np.median(v)) for k, v in out.items()}


def state_layers(root, system, family, phase):
    """Rows of a whole layer: arrays B, S, Hk, Hv, seconds; None without a table."""
    d = table(root, system, {"gdn": "linear_attention/vllm/*/gdn_perf.parquet", "kda": "kda/vllm/*/kda_perf.parquet"}[family])
    if d is None:
        return None
    conv, core = (kernel_rows(d, phase, p) for p in STATE_KERNELS[family][phase])
    if min(conv.values()) > HOST_BOUND:
        # The same convolution, timed in a graph for GDN: it follows tokens x channels.
        other = kernel_rows(table(root, system, "linear_attention/vllm/*/gdn_perf.parquet"), phase, "causal_conv1d_fn")
        work = lambda k: k[0] * k[1] * (k[2] * 2 + k[3]) * 128
        xs = sorted((work(k), t) for k, t in other.items())
        x, y = np.log([a for a, _ in xs]), np.maximum.accumulate(np.log([t for _, t in xs]))
        end = y[-1] - x[-1]
        at = lambda k: np.exp(np.interp(np.log(work(k)), x, y) if np.log(work(k)) <= x[-1] else np.log(work(k)) + end)
        conv = {k: at(k) for k in core}
    keys = sorted(k for k in core if k in conv)
    B, S, Hk, Hv = np.array(keys, float).T
    t = np.array([conv[k] + core[k] for k in keys])
    t = never_faster(never_faster(t, B, S, Hk, Hv), S, B, Hk, Hv)
    return B, S, Hk, Hv, t, d["_version"]


def recurrent(root, system, out, holdout):
    for family in ("gdn", "kda"):
        for phase, name, axes in (("generation", "decode", STATE_DEC_AXES), ("context", "prefill", STATE_PRE_AXES)):
            rows = state_layers(root, system, family, phase)
            if rows is None:
                continue
            B, S, Hk, Hv, t, version = rows
            y = np.log(t / state_roof(system, phase, B, S, Hv, Hk, 128, 128, 4))
            X = (L2(B), L2(Hv), L2(Hv / Hk)) if phase == "generation" else (L2(B), L2(S), L2(Hv), L2(Hv / Hk))
            if holdout:
                head = (Hv * 1000 + Hk).astype(int)
                u = np.unique(head)
                te = np.isin(head, u[1::4])  # every fourth head configuration
                c, _ = fit(y[~te], [x[~te] for x in X], axes)
                report(f"{system} {family}_{name} (held-out heads)", y[te], predict(c, [], [x[te] for x in X], axes))
            c, _ = fit(y, X, axes)
            roof = lambda B, *rest: state_roof(system, phase, B, rest[0], rest[-2], rest[-2] / rest[-1], 128, 128, 4)
            c = never_falls(c, X, axes, [roof], range(len(axes) - 1))
            out.grid(f"{family}_{name}", version, len(y), axes, c, (), ())


# ---- quantisation of activations ---------------------------------------------------------------------------------------
QUANT_FLOOR = 3e-6
QUANT_AXES = ([0, 4, 6, 8, 9, 10, 11, 12, 13, 15], [5, 9, 11, 12, 13, 14, 16])


def quant_roof(system, m, k):
    return 3 * m * k / ROOF[system][0] + QUANT_FLOOR


def quant_rows(root, system):
    """m, k and seconds of dynamic quantisation per token to fp8: the static kernel and what computing scales adds."""
    static = table(root, system, "quantize/vllm/*/scale_matrix_perf.parquet")
    dynamic = table(root, system, "quantize/vllm/*/computescale_perf.parquet")
    if static is None or dynamic is None:
        return None
    extra = {(m, k): t for m, k, t in zip(dynamic["m"], dynamic["k"], dynamic["latency"])}
    keep = np.array([(m, k) in extra for m, k in zip(static["m"], static["k"])])
    m, k = static["m"][keep].astype(float), static["k"][keep].astype(float)
    t = 1e-3 * (static["latency"][keep] + np.array([extra[a, b] for a, b in zip(static["m"][keep], static["k"][keep])]))
    return m, k, never_faster(t, m, k), static["_version"]


def small_kernel(out, system, name, rows, roof, axes, left_out, what):
    """Fits and writes the surface of a kernel beside the GEMMs over two axes. left_out: of the rows, for the report of
    what the fit has not seen; None = no report."""
    a, b, t, version = rows
    y, X = np.log(t / roof(system, a, b)), (L2(a), L2(b))
    if left_out is not None:
        c, _ = fit(y[~left_out], [x[~left_out] for x in X], axes)
        report(f"{system} {name} (held-out {what})", y[left_out], predict(c, [], [x[left_out] for x in X], axes))
    c, _ = fit(y, X, axes)
    c = never_falls(c, X, axes, [lambda a, b: roof(system, a, b)], (0, 1))
    out.grid(name, version, len(y), axes, c, (), ())


def quantisation(root, system, out, holdout):
    rows = quant_rows(root, system)
    if rows is not None:
        left_out = np.isin(rows[1], np.unique(rows[1])[2::5]) if holdout else None
        small_kernel(out, system, "quant_fp8", rows, quant_roof, QUANT_AXES, left_out, "k")


# ---- hyper-connections of DeepSeek-V4 ----------------------------------------------------------------------------------
# Rows are per layer: before and after both of its sites (attention, experts).
MHC_FLOOR = 25e-6
MHC_AXES = ([0, 4, 6, 8, 9, 10, 11, 12, 13, 14, 16], [12, 13])


def mhc_roof(system, tokens, hidden, streams=4):
    """Before a site the residual streams are read and mixed into one; after it they are read and written."""
    return 2 * tokens * hidden * 2 * (streams + 1 + 2 * streams + 1) / ROOF[system][0] + MHC_FLOOR


def mhc_rows(root, system):
    d = table(root, system, "mhc/vllm/*/mhc_module_perf.parquet")
    if d is None:
        return None
    part = {op: {(n, h): t for n, h, t, o in zip(d["num_tokens"], d["hidden_size"], d["latency"], d["op_name"]) if o == op} for op in ("pre", "post")}
    keys = sorted(set(part["pre"]) & set(part["post"]))
    n, h = np.array(keys, float).T
    t = np.array([part["pre"][k] + part["post"][k] for k in keys]) * 1e-3
    return n, h, never_faster(t, n, h), d["_version"]


def mhc(root, system, out, holdout):
    rows = mhc_rows(root, system)
    if rows is not None:
        left_out = np.arange(len(rows[0])) % 4 == 1 if holdout else None
        small_kernel(out, system, "mhc", rows, mhc_roof, MHC_AXES, left_out, "token counts")
