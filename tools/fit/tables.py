"""What every fit shares: the measured tables, the roofs, and the file the surfaces are written to."""
import csv, glob, os, re
import numpy as np
import pyarrow.parquet as pq
from grids import predict

SYSTEMS = ["a100_sxm", "h100_sxm", "h200_sxm", "b200_sxm", "b300_sxm", "gb200", "gb300", "l40s", "rtx_pro_6000_server"]
GPU = {"a100_sxm": "A100-SXM-80G", "h100_sxm": "H100-SXM", "h200_sxm": "H200-SXM", "b200_sxm": "B200", "b300_sxm": "B300",
       "gb200": "GB200", "gb300": "GB300", "l40s": "L40S", "rtx_pro_6000_server": "RTX-PRO-6000"}


def roofs():
    """Roofs the surfaces are relative to, from the GPU catalogue: HBM bytes/s, dense bf16 / fp8 / fp4 FLOP/s, SMs."""
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../data/gpus/gpus.csv")
    rows = {r["name"]: r for r in csv.DictReader(l for l in open(path) if not l.startswith("#"))}
    num = lambda x, k: float(x or 0) * k
    return {s: (num(rows[n]["memory_bandwidth_gbs"], 1e9), num(rows[n]["bf16"], 1e12), num(rows[n]["fp8"], 1e12), num(rows[n]["fp4"], 1e12), int(rows[n]["sm_count"])) for s, n in GPU.items()}


ROOF = roofs()
# Bytes/s per GPU, one direction, of the links the collective tables were measured on.
LINK = {"a100_sxm": 300e9, "h100_sxm": 450e9, "h200_sxm": 450e9, "b200_sxm": 900e9, "b300_sxm": 900e9, "gb200": 900e9, "gb300": 900e9, "l40s": 32e9, "rtx_pro_6000_server": 64e9}
L2 = np.log2


def table(root, system, pattern):
    files = glob.glob(f"{root}/data/{system}/{pattern}")
    if not files:
        return None
    ver = lambda p: [int(x) if x.isdigit() else -1 for x in re.split(r"[.]", os.path.basename(os.path.dirname(p)))]
    path = max(files, key=ver)
    t = pq.read_table(path)
    return {c: np.asarray(t[c].to_pylist()) for c in t.column_names} | {"_version": os.path.basename(os.path.dirname(path))}


def sel(d, m):
    return {k: (v[m] if isinstance(v, np.ndarray) else v) for k, v in d.items()}


class Out:
    def __init__(self, system):
        bw, bf, f8, f4, sms = ROOF[system]
        link = LINK[system]
        self.gemm = {}  # dtype -> (grid, feature coefficients), for fits that subtract projections from whole modules
        self.lines = [f"# Efficiency surfaces fitted to the vLLM kernel tables of aiconfigurator-core 0.12.0 (NVIDIA, Apache-2.0), system {system}.",
                      "# Values are 1000 x ln(measured / roof); see docs/formats/calibration.md. Made by tools/fit/fit_kernels.py.",
                      f"roof,{bw:.6g},{bf:.6g},{f8:.6g},{f4:.6g},{sms},{link:.6g}"]

    def grid(self, name, version, n, axes, c, zn, z):
        self.lines.append(f"table,{name},{version},{n}")
        for a in axes:
            self.lines.append("axis," + ",".join(f"{x:g}" for x in a))
        for k, v in zip(zn, z):
            self.lines.append(f"{'zg' if name.startswith('gemm') else 'z'},{k},{v:.5f}")
        width = len(axes[-1]) * (1 if len(axes[-1]) > 3 else len(axes[-2]))
        g = np.round(1000 * c).astype(int).reshape(-1, width)
        for row in g:
            self.lines.append("v," + ",".join(map(str, row)))

    def curve(self, name, version, key, x, y):
        """ln seconds over ln2 bytes"""
        self.lines.append(f"curve,{name},{version},{key}")
        self.lines.append("axis," + ",".join(f"{v:g}" for v in x))
        self.lines.append("v," + ",".join(str(int(round(1000 * v))) for v in y))

    def shape(self, key, rows):
        self.lines.append("shape," + ",".join(map(str, key)))
        for r in rows:
            self.lines.append("v," + ",".join(str(int(round(1000 * v))) for v in r))


def never_faster(seconds, along, *sites):
    """Lower envelope from the right along one axis of each site: more work is never faster; slower points before it are
    a bad pick of kernel or noise."""
    out = np.array(seconds, float)
    order = np.lexsort((along,) + sites)
    site = np.stack([s[order] for s in sites], 1)
    ends = np.append(np.where((site[1:] != site[:-1]).any(1))[0] + 1, len(order))
    start = 0
    for end in ends:
        rows = order[start:end]
        out[rows] = np.minimum.accumulate(out[rows][::-1])[::-1]
        start = end
    return out


def report(what, y, p):
    e = np.abs(np.expm1(p - y)) * 100
    print(f"  {what:42s} n={len(y):6d} median {np.median(e):5.1f} p90 {np.quantile(e, .9):5.1f} %", flush=True)


WEIGHT = {"bfloat16": 2.0, "fp8": 1.0, "nvfp4": 0.5625}
ACT = {"bfloat16": 2.0, "fp8": 1.0, "nvfp4": 0.5625}


def gemm_roof(system, dtype, m, n, k):
    bw, bf, f8, f4, sms = ROOF[system]
    peak = {"bfloat16": bf, "fp8": f8, "nvfp4": f4}[dtype]
    tf = 2 * m * n * k / peak
    tm = (m * k * ACT[dtype] + n * k * WEIGHT[dtype] + 2 * m * n) / bw
    fc = tf / (tf + tm)
    tiles = np.ceil(m / 128) * np.ceil(n / 128) / sms
    wave = np.where(tiles > 1, np.log(np.ceil(tiles) / tiles), 0) * fc
    pad = np.log(np.ceil(m / 64) * 64 / m) * fc
    return np.maximum(tf, tm) + 2e-6, np.stack([wave, pad], 1)


GEMM_AXES = ([0, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 15], [5, 8, 10, 11, 12, 13, 14, 16], [5, 8, 10, 11, 12, 13, 14, 16])


def gemm_seconds(out, system, dtype, m, n, k):
    """Fitted time of one projection, for any m."""
    n, k = np.full(len(m), float(n)), np.full(len(m), float(k))
    roof, z = gemm_roof(system, dtype, m, n, k)
    c, e = out.gemm[dtype]
    return roof * np.exp(predict(c, e, (L2(m), L2(n), L2(k)), GEMM_AXES, z))
