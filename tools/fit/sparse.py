"""Surfaces of sparse attention: DSA (DeepSeek-V3.2, GLM-5), MSA (MiniMax-M3), compressed attention (DeepSeek-V4).

The tables time whole modules. What remains beyond the projections, which are GEMMs, is the core: the indexer's scan of its
keys, the choice of the best, attention over the chosen, and the small kernels around them."""
from dataclasses import dataclass
import numpy as np
from grids import fit, never_falls, predict
from tables import L2, ROOF, gemm_seconds, never_faster, report, sel, table

AXES = {"decode": ([0, 2, 3, 4, 5, 6, 7, 8, 9, 10], [0, 5, 7, 9, 10, 11, 12, 13, 15, 17]), "prefill": ([2, 4, 6, 7, 8, 9, 10, 11, 12, 13, 14, 16], [1, 5, 7, 9, 10, 11, 12, 13, 14, 16])}
HEADS_AXIS, KV_AXIS = [0, 2, 3, 4, 5, 6, 7], [0, 1]
MANY_PROMPTS = 16  # hardly a step holds more chunks
MOST_TOKENS = 65536  # no step is larger; one new token is a decode
FLOOR = {"decode": 30e-6, "prefill": 40e-6}


@dataclass
class Core:
    """Work of one attention core, per rank. Entries of a token: min(far x context, cap), or cap whatever the context where
    the kernel pads to it, and the window."""
    far: float = 1.0             # entries per token of the context
    cap: float = np.inf
    padded: bool = False
    window: float = 0.0
    flops: object = 0.0          # per entry
    entry_bytes: object = 0.0    # per entry, decode
    token_bytes: object = 0.0    # per token of a prompt: q, k, v and output through the small kernels
    index_flops: float = 0.0     # per far entry, fp8 unless 16-bit keys
    index_bytes: float = 0.0
    index_fp8: bool = True

    def entries(self, context):
        far = np.full(np.shape(context), self.cap) if self.padded else np.minimum(self.far * context, self.cap)
        return far + np.minimum(context, self.window)

    def roof(self, system, phase, B, S, pairs):
        """decode: S is the context; prefill: S new tokens, `pairs` attended pairs of one chunk."""
        bw, bf, f8 = ROOF[system][:3]
        fast = f8 if self.index_fp8 and f8 else bf
        if phase == "decode":
            e = self.entries(S)
            core = np.maximum(B * e * self.flops / bf, B * e * self.entry_bytes / bw)
            index = B * S * self.far * np.maximum(self.index_flops / fast, self.index_bytes / bw)
        else:
            core = B * S * (self.entries(pairs / S) * self.flops / bf + self.token_bytes / bw)
            index = B * pairs * self.far * self.index_flops / fast
        return core + index + FLOOR[phase]


def padded_heads(H):
    """FlashMLA's sparse kernels run 64 or 128 query heads (vllm/v1/attention/backends/mla/flashmla_sparse.py)."""
    return np.where(H <= 64, 64.0, 128.0)


# ---- DSA -------------------------------------------------------------------------------------------------------------
DSA_MODELS = {"deepseek-ai/DeepSeek-V3.2": dict(h=7168, q=1536, nope=128, v=128, ih=64), "zai-org/GLM-5": dict(h=6144, q=2048, nope=192, v=256, ih=32)}


def dsa_core(H, kv, ih):
    return Core(cap=2048.0, padded=True, flops=2 * padded_heads(H) * (2 * 512 + 64), entry_bytes=576 * kv, index_flops=2.0 * ih * 128, index_bytes=132.0)


def dsa_projections(out, system, m, H, s):
    parts = [(s["q"] + 576, s["h"]), (H * (s["nope"] + 64), s["q"]), (H * (s["nope"] + s["v"]), 512), (s["h"], H * s["v"]), (s["ih"] * 128, s["q"]), (128 + s["ih"], s["h"])]
    return sum(gemm_seconds(out, system, "bfloat16", m, n, k) for n, k in parts)


# ---- MSA -------------------------------------------------------------------------------------------------------------
def msa_kv_heads(H):
    return np.maximum(1.0, H / 16)  # 64 query heads share 4 key heads; a rank keeps at least one


def msa_core(H, kv):
    G = msa_kv_heads(H)
    return Core(cap=2048.0, flops=4 * H * 128, entry_bytes=2 * G * 128 * kv, token_bytes=(2 * H + 2 * G) * 128 * 2, index_flops=2.0 * 128 * G, index_bytes=256.0, index_fp8=False)


def msa_projections(out, system, m, H, h=6144):
    G = max(1.0, H / 16)
    return gemm_seconds(out, system, "bfloat16", m, H * 128 + 3 * G * 128 + 128, h) + gemm_seconds(out, system, "bfloat16", m, h, H * 128)


# ---- DeepSeek-V4 -------------------------------------------------------------------------------------------------------
V4_MODELS = {"Flash": dict(h=4096, q=1024, heads=64, groups=8, topk=512.0), "Pro": dict(h=7168, q=1536, heads=128, groups=16, topk=1024.0)}


def v4_core(H, ratio, topk):
    csa = ratio == 4
    return Core(far=1.0 / ratio, cap=topk if csa else np.inf, window=128.0, flops=4 * padded_heads(H) * 512, entry_bytes=584.0, token_bytes=8 * padded_heads(H) * 512 * 2,
                index_flops=2.0 * 64 * 128 if csa else 0.0, index_bytes=132.0 if csa else 0.0)


def v4_projections(out, system, m, H, ratio, s):
    """fp8 with 128 x 128 blocks as the step prices it: 1.1 x fp8 + 2 us; compressors stay in 16 bits."""
    groups = s["groups"] * H / s["heads"]
    blocks = [(s["q"] + 512, s["h"]), (H * 512, s["q"]), (1024 * max(1, groups), H * 512 / max(1, groups)), (s["h"], max(1, groups) * 1024)]
    plain = [(2 * (2 if ratio == 4 else 1) * 512, s["h"])]
    if ratio == 4:
        blocks.append((64 * 128, s["q"]))
        plain += [(64, s["h"]), (2 * 2 * 128, s["h"])]
    return sum(1.1 * gemm_seconds(out, system, "fp8", m, n, k) + 2e-6 for n, k in blocks) + sum(gemm_seconds(out, system, "bfloat16", m, n, k) for n, k in plain)


RATIO = {"csa": 4, "hca": 128}  # tokens per compressed entry


# ---- rows and fit ------------------------------------------------------------------------------------------------------
def families():
    """name -> (folder, models, heads per rank on the grid)"""
    return {"dsa": ("sparse_attention", "dsa_{}_module", DSA_MODELS), "msa": ("msa", "msa_{}_module", {"MiniMaxAI/MiniMax-M3": None}),
            "csa": ("sparse_attention", "dsv4_csa_{}_module", V4_MODELS), "hca": ("sparse_attention", "dsv4_hca_{}_module", V4_MODELS)}


def core_of(family, H, kv, s):
    if family == "dsa":
        return dsa_core(H, kv, s["ih"])
    return msa_core(H, kv) if family == "msa" else v4_core(H, RATIO[family], s["topk"])


def projections_of(family, out, system, m, H, s):
    if family == "dsa":
        return dsa_projections(out, system, m, H, s)
    return msa_projections(out, system, m, H) if family == "msa" else v4_projections(out, system, m, H, RATIO[family], s)


def core_rows(root, system, out, family, phase, only=None):
    """B, S, pairs, H, kv, seconds of the core, its roof, its share of the module, past, version: None without a table."""
    folder, name, models = families()[family]
    d = table(root, system, f"{folder}/vllm/*/{name.format({'decode': 'generation', 'prefill': 'context'}[phase])}_perf.parquet")
    if d is None:
        return None
    parts = []
    v4 = family in ("csa", "hca")
    for model, s in models.items():
        if only and model != only:
            continue
        match = np.array([model in str(x) for x in d["model"]])
        q = sel(d, match & (d["latency"] > 0) & (d["gemm_type"] == ("fp8_block" if v4 else "bfloat16")))
        if not len(q["latency"]):
            continue
        B, H = q["batch_size"].astype(float), q["num_heads"].astype(float)
        kv = np.where(q["kv_cache_dtype"] == "fp8", 1.0, 2.0)
        past = q["step"].astype(float)
        new = np.ones(len(B)) if phase == "decode" else q["isl"].astype(float)
        S = past + 1 if phase == "decode" else new
        pairs = S if phase == "decode" else new * (past + new / 2)
        t = q["latency"] * 1e-3
        for along, *site in ((S, B, H, kv, past), (B, S, H, kv, past), (past, B, S, H, kv)) if phase == "prefill" else ((S, B, H, kv), (B, S, H, kv)):
            t = never_faster(t, along, *site)
        proj = np.zeros(len(t))
        for heads in np.unique(H):
            i = H == heads
            proj[i] = projections_of(family, out, system, B[i] * new[i], heads, s)
        roof = core_of(family, H, kv, s).roof(system, phase, B, S, pairs)
        ok = np.ones(len(t), bool) if phase == "decode" else (new >= 4) & (B * new <= MOST_TOKENS)
        if family == "dsa" and phase == "prefill":
            ok &= t > 2 * np.min(t)  # below that the table times the CPU's launches
        rest = np.maximum(t - proj, 0.1 * t)
        parts.append(np.stack([B, S, pairs, H, kv, rest, roof, rest / t, past])[:, ok])
    return (*np.concatenate(parts, 1), d["_version"])


def where(phase, B, S, pairs):
    """Decode: sequences, context. Prompts: these kernels take tokens one by one, so all tokens and their mean context."""
    return (L2(B), L2(S)) if phase == "decode" else (L2(B * S), L2(pairs / S))


def knot_roof(system, family, phase, model):
    """Roof over the coordinates of the grid."""
    def roof(x, y, H, kv):
        core = core_of(family, H, kv, model)
        return core.roof(system, phase, x, y, y) if phase == "decode" else core.roof(system, phase, 1.0, x, x * y)
    return roof


def sparse_attention(root, system, out, holdout):
    for family in families():
        decode = None
        for phase in ("decode", "prefill"):
            rows = core_rows(root, system, out, family, phase)
            if rows is None:
                continue
            B, S, pairs, H, kv, rest, roof, share, past, version = rows
            if phase == "prefill" and family == "dsa" and decode is not None:
                # Its kernels take tokens one by one: short prompts are decodes of as many sequences without a context.
                short = (decode[1] <= 3) & (decode[0] <= 128)
                B, S, pairs, H, kv, rest, roof, share, past = (np.concatenate([a, b[short]]) for a, b in zip(
                    (B, S, pairs, H, kv, rest, roof, share, past),
                    (np.ones(len(decode[0])), decode[0], decode[0] ** 2 / 2, decode[3], decode[4], decode[5], decode[6] - FLOOR["decode"] + FLOOR["prefill"], decode[7], 0 * decode[0])))
            if phase == "decode":
                decode = rows
            y, w = np.log(rest / roof), np.clip(share / 0.4, 0.05, 1.0)
            if phase == "prefill":
                w = w / (1 + B / MANY_PROMPTS)
            X, axes = (*where(phase, B, S, pairs), L2(H), L2(kv)), (*AXES[phase], HEADS_AXIS, KV_AXIS)
            if holdout:
                te = (H == 16) & (share > 0.3) & ((phase == "decode") | (B <= MANY_PROMPTS))
                c, _ = fit(y[H != 16], [x[H != 16] for x in X], axes, w=w[H != 16])
                report(f"{system} {family}_{phase} (held-out heads 16)", y[te], predict(c, [], [x[te] for x in X], axes))
            c, _ = fit(y, X, axes, w=w)
            c = never_falls(c, X, axes, [knot_roof(system, family, phase, s) for s in families()[family][2].values()], (0, 1))
            out.grid(f"{family}_{phase}", version, len(y), axes, c, (), ())
