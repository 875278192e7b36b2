#!/usr/bin/env python3
"""Measures on one NVIDIA GPU what no public kernel table holds.

usage: measure_mamba.py OUT_DIR [--parts mamba,control,sustained,elementwise] [--check]

mamba        one Mamba2 mixer as vLLM runs it, without projections and norm: decode is causal_conv1d_update and
             selective_state_update, prefill causal_conv1d_fn, mamba_chunk_scan_combined_varlen and the copy of the states
control      kernels of vLLM's gated delta net at shapes that gdn_perf of aiconfigurator-core holds
sustained    GEMMs after a pause (as kernel tables time them) and back to back for seconds, with clock and power
elementwise  RMSNorm with residual, SiLU and multiply, rotary embedding, compiled by torch.compile as vLLM does
--check      tiny shapes without timing: with TRITON_INTERPRET=1 it runs on a CPU and compares the scan with the recurrence

Kernels are replayed in CUDA graphs, median of several; `cold` rows rotate over more states than the L2 holds, as the layers of
a model do, `warm` rows use the same ones again. Needs torch and the Triton kernels of an installed vLLM (0.32.0)."""
import argparse, csv, os, subprocess, sys, threading, time
import torch

# Heads of one rank, head dim, state size, groups, chunk size, bytes of a state element by vLLM's default.
MIXERS = {
    "Nemotron-3-Ultra": (256, 64, 128, 8, 128, 4),
    "Nemotron-3-Super": (128, 64, 128, 8, 128, 4),
    "Nemotron-3-Super TP8": (16, 64, 128, 1, 128, 4),
    "Nemotron-3-Nano": (64, 64, 128, 8, 128, 4),
    "Nemotron-3-Nano TP2": (32, 64, 128, 4, 128, 4),
    "Nemotron-Nano-9B-v2": (128, 80, 128, 8, 128, 4),
    "Granite-4.0-H-Small": (128, 64, 128, 1, 256, 2),
    "Granite-4.0-H-Small TP4": (32, 64, 128, 1, 256, 2),
    "Granite-4.0-H-Tiny": (48, 64, 128, 1, 256, 2),
    "Mamba2-2.7B": (80, 64, 128, 1, 256, 2),
    "Zamba2-7B": (112, 64, 64, 2, 256, 2),
    "Zamba2-7B TP2": (56, 64, 64, 1, 256, 2),
    "Falcon-H1-34B": (32, 128, 256, 2, 128, 2),
    "Falcon-H1-7B": (24, 128, 256, 1, 256, 2),
}
MAMBA1 = {"Jamba-Mini": (8192, 16), "Jamba-Mini TP4": (2048, 16)}  # inner width and state size of one rank
BATCHES = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024]
PROMPTS = [(t, n) for t in (64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384) for n in (1, 4, 16) if t // n >= 16]
CONV = 4               # width of the causal convolution in all of them
COLD_BYTES = 200 << 20  # four times the L2 of an H100
DTYPE = {2: torch.bfloat16, 4: torch.float32}
DEVICE = "cpu" if os.environ.get("TRITON_INTERPRET") == "1" else "cuda"
ACTIVATION = torch.bfloat16 if DEVICE == "cuda" else torch.float32  # Triton's interpreter computes bf16 wrongly
FIELDS = ["op", "shape", "heads", "head_dim", "state_size", "groups", "chunk_size", "state_bytes", "sequences", "tokens", "cache", "us", "spread"]


def random(*shape):
    return torch.randn(*shape, device=DEVICE, dtype=torch.float32).to(ACTIVATION)


def graph_us(calls, replays=7):
    """Median and relative spread of the time of one call, replayed in a CUDA graph that goes through `calls` in turn."""
    torch.cuda.synchronize()
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        for call in calls[:2]:
            call()
        start.record(), calls[0](), end.record()
        stream.synchronize()
        times = max(len(calls), max(2, min(16, int(16e3 / (start.elapsed_time(end) * 1e3)))))
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=stream):
            for i in range(times):
                calls[i % len(calls)]()
        got = []
        for i in range(replays + 1):
            graph.replay(), start.record(), graph.replay(), end.record()  # the first hides the launch of the second
            stream.synchronize()
            if i > 0:
                got.append(start.elapsed_time(end) * 1e3 / times)
    got.sort()
    return got[len(got) // 2], (got[-2] - got[1]) / got[len(got) // 2]


# ---- Mamba2 ----------------------------------------------------------------------------------------------------------
class Mixer:
    """Weights and states of one Mamba2 layer of a rank, laid out as vLLM's MambaMixer2 does."""

    def __init__(self, heads, head_dim, state_size, groups, chunk, state_bytes, slots):
        from vllm.model_executor.layers.mamba.ops import causal_conv1d, mamba_ssm, ssd_combined
        self.conv, self.ssm, self.ssd = causal_conv1d, mamba_ssm, ssd_combined
        self.h, self.p, self.n, self.g, self.chunk = heads, head_dim, state_size, groups, chunk
        self.inner, self.channels = heads * head_dim, heads * head_dim + 2 * groups * state_size
        self.weight, self.bias = random(self.channels, CONV), random(self.channels)
        self.A, self.D, self.dt_bias = -torch.rand(heads, device=DEVICE) - 0.5, torch.ones(heads, device=DEVICE), torch.ones(heads, device=DEVICE)
        self.conv_state = random(slots, CONV - 1, self.channels).transpose(-1, -2)
        self.state = torch.zeros(slots, heads, head_dim, state_size, device=DEVICE, dtype=DTYPE[state_bytes])

    def projected(self, tokens):
        return random(tokens, self.inner + self.channels + self.h)

    def split(self, projected):
        return torch.split(projected[..., self.inner:], [self.channels, self.h], dim=-1)

    def decode(self, projected, out, slots):
        xbc, dt = self.split(projected)
        xbc = self.conv.causal_conv1d_update(xbc, self.conv_state, self.weight, self.bias, "silu", conv_state_indices=slots)
        x, b, c = torch.split(xbc, [self.inner, self.g * self.n, self.g * self.n], dim=-1)
        wide = lambda v: v[:, None].expand(-1, self.p)
        self.ssm.selective_state_update(
            self.state, x.view(-1, self.h, self.p), dt[:, :, None].expand(-1, -1, self.p), self.A[:, None, None].expand(-1, self.p, self.n),
            b.view(-1, self.g, self.n), c.view(-1, self.g, self.n), wide(self.D), z=None, dt_bias=wide(self.dt_bias), dt_softplus=True,
            state_batch_indices=slots, out=out.view(-1, self.h, self.p))

    def prefill(self, projected, out, slots, plan, continued=False):
        xbc, dt = self.split(projected)
        tokens = len(projected)
        xbc = self.conv.causal_conv1d_fn(xbc.transpose(0, 1), self.weight, self.bias, activation="silu", conv_states=self.conv_state,
                                         has_initial_state=plan.continued if continued else plan.fresh, cache_indices=slots, metadata=plan, query_start_loc=plan.starts).transpose(0, 1)
        x, b, c = torch.split(xbc, [self.inner, self.g * self.n, self.g * self.n], dim=-1)
        before = torch.where(plan.continued[:, None, None, None], self.state[slots], 0) if continued else None
        states = self.ssd.mamba_chunk_scan_combined_varlen(
            x.view(tokens, self.h, self.p), dt, self.A, b.view(tokens, self.g, self.n), c.view(tokens, self.g, self.n), chunk_size=self.chunk,
            D=self.D, z=None, dt_bias=self.dt_bias, seq_idx=plan.sequence_of_chunk, cu_seqlens=plan.starts, cu_chunk_seqlens=plan.chunk_starts,
            last_chunk_indices=plan.last_chunks, initial_states=before, dt_softplus=True, dt_limit=(0.0, float("inf")),
            out=out.view(tokens, self.h, self.p), state_dtype=self.state.dtype)
        self.state[slots] = states


class Prompts:
    """What vLLM's metadata builders prepare for equal prompts: chunks end at their sequence's own multiples of the chunk size."""

    def __init__(self, tokens, sequences, chunk):
        from vllm.v1.attention.backends.utils import compute_causal_conv1d_metadata
        each = tokens // sequences
        starts = torch.arange(sequences + 1, dtype=torch.int32) * each
        chunk_starts, sequence, last = [0], [], []
        for s in range(sequences):
            for at in range(0, each, chunk):
                chunk_starts.append(s * each + min(each, at + chunk))
                sequence.append(s)
            last.append(len(sequence) - 1)
        put = lambda v: torch.tensor(v, dtype=torch.int32, device=DEVICE)
        self.starts, self.chunk_starts, self.sequence_of_chunk, self.last_chunks = starts.to(DEVICE), put(chunk_starts), put(sequence), put(last)
        self.fresh, self.continued = (torch.full((sequences,), v, dtype=torch.bool, device=DEVICE) for v in (False, True))
        self.nums_dict, self.batch_ptr, self.token_chunk_offset_ptr = compute_causal_conv1d_metadata(starts, device=torch.device(DEVICE))


def warm_up(mixer):
    """vLLM tunes its scan kernels on one chunk at start-up, without and with a state before it."""
    for continued in (False, True):
        mixer.prefill(mixer.projected(mixer.chunk), random(mixer.chunk, mixer.inner), slots_of(1, 1), Prompts(mixer.chunk, 1, mixer.chunk), continued)


def slots_of(first, count):
    return torch.arange(first, first + count, dtype=torch.int32, device=DEVICE)


def decode_rows(name, shape, state_bytes, time_it):
    heads, head_dim, state_size, groups, chunk, _ = shape
    one = heads * head_dim * state_size * state_bytes
    for batch in BATCHES:
        turns = max(1, min(256, -(-COLD_BYTES // (one * batch))))
        mixer = Mixer(heads, head_dim, state_size, groups, chunk, state_bytes, turns * batch + 1)
        projected, out = mixer.projected(batch), random(batch, mixer.inner)
        sets = [slots_of(1 + i * batch, batch) for i in range(turns)]
        calls = [lambda s=s: mixer.decode(projected, out, s) for s in sets]
        key = ["mamba2_decode", name, heads, head_dim, state_size, groups, chunk, state_bytes, batch, batch]
        yield key + ["cold", *time_it(calls)]
        if name == "Nemotron-3-Nano":
            yield key + ["warm", *time_it(calls[:1])]
            if state_bytes == 4:  # kernels before tuned launch shapes were shipped
                with mixer.ssm.override_ssm_config((4, 4)):
                    yield ["mamba2_decode_untuned"] + key[1:] + ["cold", *time_it(calls)]
        del mixer, calls
        if DEVICE == "cuda":
            torch.cuda.empty_cache()


def prefill_rows(name, shape, time_it):
    heads, head_dim, state_size, groups, chunk, state_bytes = shape
    mixer = Mixer(heads, head_dim, state_size, groups, chunk, state_bytes, 33)
    warm_up(mixer)
    for tokens, sequences in PROMPTS:
        projected, out, plan = mixer.projected(tokens), random(tokens, mixer.inner), Prompts(tokens, sequences, chunk)
        slots = slots_of(1, sequences)
        call = lambda: mixer.prefill(projected, out, slots, plan)
        key = [name, heads, head_dim, state_size, groups, chunk, state_bytes, sequences, tokens]
        yield ["mamba2_prefill"] + key + ["warm", *time_it([call])]
        if tokens in (256, 2048, 8192) and name in ("Nemotron-3-Nano", "Granite-4.0-H-Small"):
            yield ["mamba2_prefill_continued"] + key + ["warm", *time_it([lambda: mixer.prefill(projected, out, slots, plan, True)])]
        if (tokens, sequences) == (64, 1) and time_it is graph_us:
            yield ["mamba2_prefill_launch"] + key + ["warm", *launch_us(call)]


def mamba1_rows(time_it):
    """Decode of Mamba1: one kernel for all channels, each with its own A and gate."""
    from vllm.model_executor.layers.mamba.ops import causal_conv1d, mamba_ssm
    for name, (inner, n) in MAMBA1.items():
        weight, bias, A = random(inner, CONV), random(inner), -torch.rand(inner, n, device=DEVICE) - 0.5
        D, dt_bias = torch.ones(inner, device=DEVICE), torch.ones(inner, device=DEVICE)
        for batch in BATCHES:
            turns = max(1, min(256, -(-COLD_BYTES // (inner * n * 2 * batch))))
            state = torch.zeros(turns * batch + 1, inner, n, device=DEVICE, dtype=ACTIVATION)
            conv_state = random(turns * batch + 1, CONV - 1, inner).transpose(-1, -2)
            x, gate, dt, b, c, out = random(batch, inner), random(batch, inner), random(batch, inner), random(batch, n), random(batch, n), random(batch, inner)

            def call(slots):
                y = causal_conv1d.causal_conv1d_update(x, conv_state, weight, bias, "silu", conv_state_indices=slots)
                mamba_ssm.selective_state_update(state, y, dt, A, b, c, D, dt_bias, z=gate, dt_softplus=True, state_batch_indices=slots, out=out)
            calls = [lambda s=slots_of(1 + i * batch, batch): call(s) for i in range(turns)]
            yield ["mamba1_decode", name, 1, inner, n, 1, 0, 2, batch, batch, "cold", *time_it(calls)]


def launch_us(call, times=50):
    """CPU time of one call outside a CUDA graph."""
    got = []
    for _ in range(3):
        torch.cuda.synchronize()
        start = time.perf_counter()
        for _ in range(times):
            call()
        got.append((time.perf_counter() - start) / times * 1e6)
    torch.cuda.synchronize()
    got.sort()
    return got[1], (got[2] - got[0]) / got[1]


# ---- control: gated delta net ----------------------------------------------------------------------------------------
GDN = [(16, 32), (8, 16), (4, 8)]  # key heads, value heads of 128


def control_rows(time_it):
    from vllm.model_executor.layers.mamba.ops import causal_conv1d
    from vllm.third_party.flash_linear_attention.ops.fused_recurrent import fused_recurrent_gated_delta_rule_packed_decode as decode
    for hk, hv in GDN:
        channels = (2 * hk + hv) * 128
        weight = random(channels, CONV)
        for batch in (1, 16, 64, 256):
            for state_bytes in (4, 2):
                turns = max(1, min(64, -(-COLD_BYTES // (hv * 128 * 128 * state_bytes * batch))))
                state = torch.zeros(turns * batch + 1, hv, 128, 128, device=DEVICE, dtype=DTYPE[state_bytes])
                conv_state = random(turns * batch + 1, CONV - 1, channels).transpose(-1, -2)
                x, a, b = random(batch, channels), random(batch, hv), random(batch, hv)
                A, bias, out = torch.rand(hv, device=DEVICE), torch.rand(hv, device=DEVICE), random(batch, 1, hv, 128)
                sets = [slots_of(1 + i * batch, batch) for i in range(turns)]
                recurrent = [lambda s=s: decode(x, a, b, A, bias, 128 ** -0.5, state, out, s, use_qk_l2norm_in_kernel=True) for s in sets]
                conv = [lambda s=s: causal_conv1d.causal_conv1d_update(x, conv_state, weight, None, "silu", conv_state_indices=s) for s in sets]
                for op, calls in (("gdn_decode", recurrent),) + ((("gdn_conv_update", conv),) if state_bytes == 4 else ()):
                    for cache in ("cold", "warm"):
                        yield [op, f"{hk}/{hv}", hv, 128, 128, hk, 0, state_bytes, batch, batch, cache, *time_it(calls if cache == "cold" else calls[:1])]
        for tokens, sequences in ((512, 1), (2048, 1), (8192, 1), (8192, 4)):
            conv_state, plan, x = random(33, CONV - 1, channels).transpose(-1, -2), Prompts(tokens, sequences, 64), random(tokens, channels)
            call = lambda: causal_conv1d.causal_conv1d_fn(x.transpose(0, 1), weight, None, activation="silu", conv_states=conv_state, has_initial_state=plan.fresh,
                                                          cache_indices=slots, metadata=plan, query_start_loc=plan.starts)
            slots = slots_of(1, sequences)
            yield ["gdn_conv", f"{hk}/{hv}", hv, 128, 128, hk, 0, 4, sequences, tokens, "warm", *time_it([call])]


# ---- GEMMs, sustained ------------------------------------------------------------------------------------------------
class Sensors(threading.Thread):
    """SM clock (MHz), power (W) and temperature (C) every 50 ms."""

    def __init__(self):
        super().__init__(daemon=True)
        import pynvml
        pynvml.nvmlInit()
        self.nvml, self.handle, self.rows, self.on = pynvml, pynvml.nvmlDeviceGetHandleByIndex(0), [], True

    def run(self):
        while self.on:
            n = self.nvml
            self.rows.append((time.perf_counter(), n.nvmlDeviceGetClockInfo(self.handle, n.NVML_CLOCK_SM), n.nvmlDeviceGetPowerUsage(self.handle) / 1e3,
                              n.nvmlDeviceGetTemperature(self.handle, n.NVML_TEMPERATURE_GPU)))
            time.sleep(0.05)

    def last(self, since):
        rows = [r for r in self.rows if r[0] >= since] or self.rows[-1:]
        return [sum(r[i] for r in rows) / len(rows) for i in (1, 2, 3)]


def sustained_rows(seconds=3.0, pause=2.0):
    sensors = Sensors()
    sensors.start()
    for dtype in ("bf16", "fp8"):
        for m, n, k in ((8192, 8192, 8192), (4096, 8192, 8192), (4096, 4096, 4096), (512, 8192, 8192)):
            a, b = random(m, k), random(n, k)
            if dtype == "fp8":
                a, b = a.to(torch.float8_e4m3fn), b.to(torch.float8_e4m3fn)
                scale = torch.ones((), device=DEVICE)
                call = lambda: torch._scaled_mm(a, b.t(), scale, scale, out_dtype=torch.bfloat16, use_fast_accum=True)
            else:
                call = lambda: torch.mm(a, b.t())
            call(), torch.cuda.synchronize()
            time.sleep(pause)
            flops, events = 2.0 * m * n * k, []
            burst = [torch.cuda.Event(enable_timing=True) for _ in range(25)]
            for e in burst:
                e.record(), call()
            torch.cuda.synchronize()
            times = [x.elapsed_time(y) for x, y in zip(burst[10:], burst[11:])]
            first = sorted(times)[len(times) // 2]
            each = max(1, int(20 / first))  # a mark every 20 ms
            begin = time.perf_counter()
            while time.perf_counter() - begin < seconds:
                e = torch.cuda.Event(enable_timing=True)
                e.record()
                events.append(e)
                for _ in range(each):
                    call()
                if len(events) > 3:
                    events[-3].synchronize()
            torch.cuda.synchronize()
            spans = [x.elapsed_time(y) / each for x, y in zip(events, events[1:])]
            tail = sorted(spans[-max(3, len(spans) // 4):])
            late = tail[len(tail) // 2]
            clock, watts, degrees = sensors.last(time.perf_counter() - seconds / 4)
            yield [dtype, m, n, k, first * 1e3, late * 1e3, flops / first / 1e9, flops / late / 1e9, clock, watts, degrees]
    sensors.on = False


# ---- element-wise ----------------------------------------------------------------------------------------------------
def rms_norm(x, residual, weight):
    residual = x + residual
    wide = residual.float()
    return (wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + 1e-6)).to(x.dtype) * weight, residual


def silu_mul(x):
    gate, up = x.chunk(2, dim=-1)
    return torch.nn.functional.silu(gate) * up


def rotary(x, cos, sin):
    first, second = x.chunk(2, dim=-1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)


def elementwise_rows(time_it):
    for hidden in (4096, 8192):
        compiled = {f: torch.compile(f) for f in (rms_norm, silu_mul, rotary)}
        for tokens in (8, 16, 64, 256, 1024, 2048, 4096, 8192):
            x, r, w = random(tokens, hidden), random(tokens, hidden), random(hidden)
            wide, q = random(tokens, 4 * hidden), random(tokens, hidden // 128, 128)
            cos, sin = random(tokens, 1, 64), random(tokens, 1, 64)
            for v in (x, r, wide, q, cos, sin):
                torch._dynamo.mark_dynamic(v, 0)
            for name, f, args, moved in (("rms_norm", rms_norm, (x, r, w), 4 * tokens * hidden * 2), ("silu_mul", silu_mul, (wide,), 6 * tokens * hidden * 2),
                                         ("rotary", rotary, (q, cos, sin), 2 * tokens * hidden * 2)):
                yield [name, tokens, hidden, moved, *time_it([lambda: compiled[f](*args)])]
        torch._dynamo.reset()
    for mib in (64, 512):
        a, b = random(mib << 19), random(mib << 19)
        yield ["copy", 1, mib << 20, 2 * (mib << 20), *time_it([lambda: b.copy_(a)])]


# ---- output ----------------------------------------------------------------------------------------------------------
def about():
    import triton, vllm, pynvml
    pynvml.nvmlInit()
    driver = pynvml.nvmlSystemGetDriverVersion()
    return (f"# {torch.cuda.get_device_name()}, driver {driver}, torch {torch.__version__}, triton {triton.__version__}, kernels of vLLM {vllm.__version__}, "
            f"{time.strftime('%Y-%m-%d')}. Made by tools/fit/measure_mamba.py.\n")


def write(path, fields, rows):
    with open(path, "w") as f:
        f.write(about())
        out = csv.writer(f, lineterminator="\n")
        out.writerow(fields)
        for row in rows:
            out.writerow([f"{v:.4g}" if isinstance(v, float) else v for v in row])
            f.flush()


def mamba_rows():
    for name, shape in MIXERS.items():
        start = time.perf_counter()
        yield from prefill_rows(name, shape, graph_us)
        for state_bytes in (4, 2):
            yield from decode_rows(name, shape, state_bytes, graph_us)
        print(f"{name} {time.perf_counter() - start:.1f} s", flush=True)
    yield from mamba1_rows(graph_us)


def compile_all():
    """Compiles every kernel in parallel: one process each, sharing Triton's cache. Their timings are not used."""
    jobs = [subprocess.Popen([sys.executable, __file__, ".", "--compile", name]) for name in [*MIXERS, "mamba1", "control", "elementwise"]]
    return [j.wait() for j in jobs]


def once(calls):
    calls[0](), torch.cuda.synchronize()
    return 0.0, 0.0


def check(limit=0.05):
    """Prefill of a prompt against token by token decode."""
    torch.manual_seed(1)
    tiny = (4, 16, 16, 2, 16, 4)
    for shape, tokens in ((tiny, 5), (tiny, 16), (tiny, 37)) if DEVICE == "cpu" else ((MIXERS["Nemotron-3-Super TP8"], 300),):
        heads, head_dim, state_size, groups, chunk, state_bytes = shape
        mixer = Mixer(heads, head_dim, state_size, groups, chunk, state_bytes, 3)
        warm_up(mixer)
        projected = mixer.projected(tokens) * 0.5
        whole, step = random(tokens, mixer.inner), random(1, mixer.inner)
        mixer.conv_state.zero_(), mixer.state.zero_()
        mixer.prefill(projected.clone(), whole, slots_of(1, 1), Prompts(tokens, 1, chunk))
        for t in range(tokens):
            mixer.decode(projected[t:t + 1].clone(), step, slots_of(2, 1))
            error = (whole[t] - step[0]).float().norm() / step.float().norm()
            assert not error > limit, (tokens, t, error)
        error = (mixer.state[1] - mixer.state[2]).norm() / mixer.state[2].norm()
        assert not error > limit, (tokens, error)
        print(f"{tokens} tokens: error of the last state {error:.1e}", flush=True)


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("out_dir"); ap.add_argument("--parts", default="mamba,control,sustained,elementwise")
    ap.add_argument("--check", action="store_true"); ap.add_argument("--compile", help=argparse.SUPPRESS)
    a = ap.parse_args()
    if a.check:
        return check()
    if a.compile:
        import triton
        triton.runtime.driver.active.get_benchmarker = lambda: lambda call, quantiles: triton.testing.do_bench(call, warmup=1, rep=3, quantiles=quantiles)
        rows = {"mamba1": lambda: mamba1_rows(once), "control": lambda: control_rows(once), "elementwise": lambda: elementwise_rows(once)}.get(a.compile)
        if rows is None:
            shape = MIXERS[a.compile]
            for _ in prefill_rows(a.compile, shape, once): pass
            for b in (4, 2):
                for _ in decode_rows(a.compile, shape, b, once): pass
        else:
            for _ in rows(): pass
        return
    start = time.perf_counter()
    parts = a.parts.split(",")
    if "mamba" in parts:
        print("compiled", compile_all(), f"{time.perf_counter() - start:.1f} s", flush=True)
        check(limit=1.0)
    if "control" in parts:
        write(f"{a.out_dir}/control.csv", FIELDS, control_rows(graph_us))
    if "mamba" in parts:
        write(f"{a.out_dir}/mamba.csv", FIELDS, mamba_rows())
    if "sustained" in parts:
        write(f"{a.out_dir}/sustained.csv", ["dtype", "m", "n", "k", "burst_us", "sustained_us", "burst_tflops", "sustained_tflops", "clock_mhz", "power_w", "temperature_c"],
              sustained_rows())
    if "elementwise" in parts:
        write(f"{a.out_dir}/elementwise.csv", ["op", "tokens", "hidden", "bytes", "us", "spread"], elementwise_rows(graph_us))
    print(f"all {time.perf_counter() - start:.1f} s", flush=True)


if __name__ == "__main__":
    main()
