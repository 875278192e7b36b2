#!/usr/bin/env python3
"""Fits the coefficients of data/calibration/startup.csv on start-up logs and reports leave-one-source-out errors.

usage: startup.py STARTUP.csv FEATURES.csv COEFFICIENTS.csv [--write] [--list N]

STARTUP       table of start-up logs (docs/memory.md)
FEATURES      what `shardwise verify startup STARTUP.csv --predictions FEATURES.csv` wrote: features and weights, no measurement
COEFFICIENTS  the table; every fit starts from its priors. --write replaces its values by the fitted ones

The formula is the one of src/memory/startup.cc. Errors are of the KV memory, and of the activation peak and the memory
outside PyTorch where a log prints them. A source is one repository or issue (rows of one operator are not independent): every
reported error is of rows whose source was left out of the fit. Only the Python standard library is used."""
import argparse
import csv
import re

GIB = 1073741824.0


def num(text):
    try:
        return float(text)
    except (TypeError, ValueError):
        return None


def version(text):
    return tuple(int(x) for x in text.split("."))


class Table:
    """Coefficients by name and first version; parameters are the rows."""

    def __init__(self, path):
        self.rows = list(csv.DictReader(open(path, newline="")))
        self.values = [float(r["value"]) for r in self.rows]
        self.prior = [float(r["prior"]) for r in self.rows]
        self.index = {}
        for i, r in enumerate(self.rows):
            self.index.setdefault(r["name"], []).append((version(r["from_version"]), i))

    def find(self, name, v):
        at = self.index[name][0][1]
        for start, i in self.index[name]:
            if v >= start:
                at = i
        return at


def terms(t, values, f, v):
    """(activation, outside, reserved for graphs) in GiB, as startup_terms() computes them."""
    get = lambda name: values[t.find(name, v)]  # noqa: E731
    sampling = f["logits"] * 1e9 * get(f["logits_term"]) / GIB + get("activation_vision") * f["vision"]
    body = (get("hidden_copies") * f["hidden"] + get("moe_workspace") * f["moe"] + get("hyper_copies") * f["hyper"]
            + max(sampling, get("mlp_copies") * f["mlp"]))
    activation = (get("activation_fixed") + get("mxfp4_kernels") * f["mxfp4"]
                  + max(body, get("encoder_copies") * f["encoder"]))
    graphs = get("graph_fixed") + get("graph_mla") * f["mla"] + get("graph_layer_size") * f["layers"] * f["graphs"] if f["graphs"] else 0.0
    return activation, get(f["outside"]), graphs if v >= (0, 20, 0) else 0.0


def load(startup, features):
    measured = {r["id"]: r for r in csv.DictReader(open(startup, newline=""))}
    rows = []
    for r in csv.DictReader(open(features, newline="")):
        m = measured[r["id"]]
        kv = num(m["available_kv_gib_per_gpu"])
        if m["outcome"] not in ("ok", "kv_too_small") or m["doubtful"] == "y" or kv is None or not r["total_gib"]:
            continue
        f = {k: num(r["f_" + k]) for k in ("logits", "hidden", "mlp", "moe", "hyper", "mla", "vision", "encoder", "mxfp4",
                                             "layers", "graphs")}
        f.update(outside=r["f_outside"], logits_term=r["f_logits_term"])
        source = re.sub(r"^https?://(www\.)?", "", m["source_url"]).split("/")
        known = all(m[c] for c in ("vllm_version", "gpu_memory_utilization", "max_num_batched_tokens"))
        rows.append(dict(id=r["id"], f=f, v=version(r["f_version"]), kv=kv, budget=num(r["total_gib"]) * num(r["utilization"]),
                         weights=num(r["weights_gib_per_gpu"]), logged_weights=num(m["weights_gib_per_gpu"]),
                         started=m["outcome"] == "ok" and kv > 0, activation=num(m["activation_peak_gib"]),
                         outside=num(m["non_torch_gib"]), source="/".join(source[:3]), known=known))
    return rows


def predict(t, values, row):
    activation, outside, graphs = terms(t, values, row["f"], row["v"])
    return row["budget"] - row["weights"] - activation - outside - graphs


def loss(t, values, rows):
    """Robust: absolute errors in GiB, weighted so that each source counts as the root of its rows."""
    count = {}
    for r in rows:
        count[r["source"]] = count.get(r["source"], 0) + 1
    total = 0.0
    for r in rows:
        activation, outside, graphs = terms(t, values, r["f"], r["v"])
        w = count[r["source"]] ** -0.5 * (1.0 if r["known"] else 0.2)
        # The weights that the log states, where it does: an error of their prediction is no activation.
        error = abs(r["budget"] - (r["logged_weights"] or r["weights"]) - activation - outside - graphs - r["kv"])
        total += w * min(error, 2.0)  # a row that is far off has another cause than a coefficient
        if r["activation"]:
            total += w * min(abs(activation - r["activation"]), 2.0)
        if r["outside"]:
            total += w * min(abs(outside - r["outside"]), 2.0)
    # Priors are physics, or round numbers: leave them only for a reason.
    return total + 0.02 * sum(abs(a / b - 1) for a, b in zip(values, t.prior))


def fit(t, rows, cycles=3):
    """From the priors alone, so that nothing is left of a row that is not in `rows`."""
    values = list(t.prior)
    used = {t.find(n, r["v"]) for r in rows for n in t.index if not n.startswith(("sigma", "non_torch", "logits_", "start_"))}
    used |= {t.find(r["f"][k], r["v"]) for r in rows for k in ("outside", "logits_term")}
    best = loss(t, values, rows)
    for _ in range(cycles):  # coordinate descent; steps start wide again, which leaves small hollows
        step = {i: 0.5 for i in used}
        while max(step.values()) > 0.005:
            for i in sorted(used):
                for factor in (1 + step[i], 1 / (1 + step[i])):
                    trial = list(values)
                    trial[i] *= factor
                    here = loss(t, trial, rows)
                    if here < best - 1e-9:
                        best, values = here, trial
                        break
                else:
                    step[i] /= 2
    return values


def quantile(values, p):
    values = sorted(values)
    at = p * (len(values) - 1)
    low = int(at)
    return values[low] + (values[min(low + 1, len(values) - 1)] - values[low]) * (at - low)


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("startup"), ap.add_argument("features"), ap.add_argument("coefficients")
    ap.add_argument("--write", action="store_true")
    ap.add_argument("--list", type=int, default=12, help="so many of the worst rows")
    a = ap.parse_args()
    t = Table(a.coefficients)
    rows = load(a.startup, a.features)
    errors = []
    for source in sorted({r["source"] for r in rows}):
        values = fit(t, [r for r in rows if r["source"] != source])
        errors += [(predict(t, values, r) - r["kv"], r) for r in rows if r["source"] == source and r["started"]]
    relative = [abs(e) / r["kv"] for e, r in errors]
    absolute = [abs(e) for e, _ in errors]
    print(f"{len(errors)} rows of {len({r['source'] for r in rows})} sources; KV GiB, source left out: median "
          f"{100 * quantile(relative, .5):.2f} %, p90 {100 * quantile(relative, .9):.2f} %; absolute median "
          f"{quantile(absolute, .5):.2f}, p90 {quantile(absolute, .9):.2f} GiB")
    for e, r in sorted(errors, key=lambda x: -abs(x[0]) / x[1]["kv"])[:a.list]:
        print(f"  {r['id']} {r['kv']:8.2f} GiB {100 * e / r['kv']:+6.1f} % {e:+.2f} GiB {r['source']}")
    values = fit(t, rows)
    # The band: sigma = fixed + relative x KV with the given ratio, scaled until 90 % of the left-out rows lie inside.
    fixed, slope = t.values[t.index["sigma_fixed"][0][1]], t.values[t.index["sigma_relative"][0][1]]
    scale = quantile([abs(e) / (1.645 * (fixed + slope * r["kv"])) for e, r in errors], .90)
    values[t.index["sigma_fixed"][0][1]] = fixed * scale
    values[t.index["sigma_relative"][0][1]] = slope * scale
    for r, old, new in zip(t.rows, t.values, values):
        print(f"  {r['name']:24s} {r['from_version']:8s} {old:10.5g} -> {new:10.5g} {r['unit']}")
    if a.write:
        with open(a.coefficients, "w", newline="") as f:
            w = csv.DictWriter(f, list(t.rows[0]), lineterminator="\n")
            w.writeheader()
            for r, value in zip(t.rows, values):
                w.writerow(dict(r, value=f"{value:.5g}"))


if __name__ == "__main__":
    main()
