"""Surfaces of Mamba2 layers, from measurements of vLLM's kernels (bench/data/mamba_h100.csv, made by measure_mamba.py)."""
import csv, os
import numpy as np
from grids import fit, predict
from tables import L2, ROOF, never_faster, report

ROWS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../bench/data/mamba_h100.csv")
SYSTEM = "h100_sxm"  # the GPU they were measured on
CONV = 4
DECODE_FLOOR, PREFILL_FLOOR = 5e-6, 14e-6  # as of other recurrent states
# Elements of all states, bytes of one, launch shape by default or tuned.
DEC_AXES = ([17, 18, 19, 20, 21, 22, 23, 24, 26, 28, 31], [1, 2], [0, 1])
# Prompts, their length, elements of a sequence's state, chunk size.
PRE_AXES = ([0, 2, 4], [4, 6, 8, 9, 10, 12, 14], [17, 18, 19, 20, 21], [7, 8])
SMOOTH = {False: 0.3, True: 1.0}


def rows(op):
    """Columns of one operation as arrays; `shape` names the model and its shard."""
    with open(ROWS) as f:
        version = next(f).split("vLLM ")[1].split(",")[0]
        got = [r for r in csv.DictReader(f) if r["op"] == op and (op != "mamba2_decode" or r["cache"] == "cold")]
    number = lambda c: np.array([float(r[c]) for r in got])
    d = {c: number(c) for c in ("heads", "head_dim", "state_size", "groups", "chunk_size", "state_bytes", "sequences", "tokens")}
    return d | {"shape": np.array([r["shape"] for r in got]), "seconds": number("us") * 1e-6, "version": version}


def tuned_launch(head_dim, state_size):
    """vLLM ships launch shapes for one kind of state on H100, H200, B200, GB200 and RTX PRO 6000 (mamba/ops/configs)."""
    return (head_dim == 64) & (state_size == 128)


def roof(d, prompts):
    """States and windows of the convolution read and written; a prompt also writes and reads fp32 states of every chunk and
    the product of its B and C, and passes its tokens through five kernels."""
    bw, peak = ROOF[SYSTEM][:2]
    inner, n, sb = d["heads"] * d["head_dim"], d["state_size"], d["state_bytes"]
    channels, elements = inner + 2 * d["groups"] * n, inner * n
    state = d["sequences"] * (2 * sb * elements + 4 * channels * CONV)
    if not prompts:
        return state / bw + DECODE_FLOOR
    q = d["chunk_size"]
    chunks = d["sequences"] * np.maximum(1, d["tokens"] / d["sequences"] / q)
    moved = state + chunks * (elements * (8 + 2 * sb) + 8 * d["groups"] * q * q) + d["tokens"] * (10 * channels + 4 * inner)
    flops = d["tokens"] * (4 * elements + inner * q + 2 * d["groups"] * n * q)
    return np.maximum(flops / peak, moved / bw) + PREFILL_FLOOR


def features(d, prompts):
    elements = L2(d["heads"] * d["head_dim"] * d["state_size"])
    if prompts:
        return L2(d["sequences"]), L2(d["tokens"] / d["sequences"]), elements, L2(d["chunk_size"])
    return L2(d["sequences"]) + elements, L2(d["state_bytes"]), tuned_launch(d["head_dim"], d["state_size"]) * 1.0


def measured(d):
    key = np.unique(d["shape"], return_inverse=True)[1].ravel().astype(float)
    return never_faster(d["seconds"], d["tokens"], d["sequences"] if (d["tokens"] != d["sequences"]).any() else 0 * key, d["state_bytes"], key)


def fitted(prompts):
    """Rows, coordinates, ln(measured / roof) and knots of one phase."""
    d = rows("mamba2_prefill" if prompts else "mamba2_decode")
    return d, features(d, prompts), np.log(measured(d) / roof(d, prompts)), PRE_AXES if prompts else DEC_AXES


def mamba(root, system, out, holdout):
    if system != SYSTEM:
        return
    for prompts, name in ((False, "mamba2_decode"), (True, "mamba2_prefill")):
        d, X, y, axes = fitted(prompts)
        lam = SMOOTH[prompts]
        if holdout:
            family = np.array([s.split(" TP")[0] for s in d["shape"]])
            guess = np.zeros(len(y))
            for f in np.unique(family):
                te = family == f
                c, _ = fit(y[~te], [x[~te] for x in X], axes, lam=lam)
                guess[te] = predict(c, [], [x[te] for x in X], axes)
                report(f"{system} {name} ({f} held out)", y[te], guess[te])
            report(f"{system} {name} (held-out models)", y, guess)
        c, _ = fit(y, X, axes, lam=lam)
        out.grid(name, d["version"], len(y), axes, c, (), ())
        if holdout:
            report(f"{system} {name} (in sample)", y, predict(c, [], X, axes))
            for other in ("mamba2_prefill_continued",) if prompts else ("mamba2_decode_untuned", "mamba1_decode"):
                o = rows(other)
                report(f"{system} {other} by {name}", np.log(o["seconds"] / roof(o, prompts)), predict(c, [], features(o, prompts), axes))
