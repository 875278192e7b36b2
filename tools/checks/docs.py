#!/usr/bin/env python3
"""Documents against the tree: every path they name exists, docs/architecture.md has one row a layer in the order of the
layer table, and every file of docs/ is reachable from README.md.

Usage: docs.py ROOT
"""
import pathlib
import re
import sys

root = pathlib.Path(sys.argv[1])
problems = []
documents = {p.relative_to(root).as_posix(): p.read_text() for p in [*root.glob("*.md"), *(root / "docs").rglob("*.md")]}

PATH = re.compile(r"`((?:src|data|docs|tests|tools|bench|cmake)/[\w./*+-]+?)/?`")
for name, text in documents.items():
    for path in PATH.findall(text):
        if "*" in path or re.search(r"NAME|STEM|X\.Y\.Z|\bx_", path):
            continue
        if not (root / path).exists() and not list(root.glob(path + ".*")):
            problems.append(f"{name}: `{path}` does not exist")
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text):
        if not ((root / name).parent / target).exists():
            problems.append(f"{name}: link to {target}, which does not exist")

layers = re.findall(r"^shardwise_layer\((\w+)", (root / "src/CMakeLists.txt").read_text(), re.M)
rows = re.findall(r"^\| `src/(\w+)` \|", documents["docs/architecture.md"], re.M)
if layers != rows:
    problems.append(f"docs/architecture.md: rows {rows}, layers of src/CMakeLists.txt {layers}")

seen, todo = set(), ["README.md"]
while todo:
    name = todo.pop()
    if name in seen or name not in documents:
        continue
    seen.add(name)
    text = documents[name]
    for target in re.findall(r"\]\(([^)#:]+)", text) + [f"/{m}" for m in re.findall(r"`?(docs/[\w/.-]+\.md)`?", text)]:
        path = (root / target[1:]) if target.startswith("/") else (root / name).parent / target
        if path.exists():
            todo.append(path.resolve().relative_to(root.resolve()).as_posix())
for name in sorted(documents):
    if name.startswith("docs/") and name not in seen:
        problems.append(f"{name}: no way there from README.md")

# Libraries that the binary holds: NOTICE names each as CMake does.
notice = (root / "NOTICE").read_text()
for listed in [root / "CMakeLists.txt", *(root / "cmake").glob("*.cmake")]:
    for library in re.findall(r"^find_package\(([\w-]+)", listed.read_text(), re.M):
        if library not in ("Threads", "Python3") and library not in notice:
            problems.append(f"NOTICE: does not name {library} of {listed.name}")

# Figures of README.md: each stands in the document that it is of.
def cells(name, *first):
    """The numbers of a table's row, by its first cells."""
    row = re.search(r"^\| *" + r" *\| *".join(map(re.escape, first)) + r" *\|(.*)\|$", documents[name], re.M)
    return re.findall(r"[\d.]+", row[1]) if row else []


_, tpot, tpot_aic, ttft, ttft_aic, tput, tput_aic, *_ = cells("docs/accuracy.md", "all") or ["?"] * 7
_, picked, _, picked_aic, *_ = cells("docs/accuracy.md", "fixed_budget") or ["nan"] * 4
_, _, calibrated, *_ = cells("docs/accuracy.md", "TTFT") or ["?"] * 3
memory = re.search(r"without it: median ([\d.]+ %), p90 ([\d.]+ %)", documents["docs/memory.md"]) or ["?"] * 3
readme = " ".join(documents["README.md"].split())
for figure in (f"TPOT {tpot} %, throughput {tput} %, TTFT {ttft} % mean error", f"(AIConfigurator 0.12 on the same rows: {tpot_aic}, {tput_aic}, {ttft_aic} %)",
               f"TTFT {calibrated} % with one low-load row", f"picked in {float(picked):.0f} % ({float(picked_aic):.0f} %)",
               f"KV cache memory {memory[1]} median error, {memory[2]} at the 90th percentile"):
    if figure not in readme:
        problems.append(f"README.md: does not say '{figure}', as docs/accuracy.md and docs/memory.md do")

print("\n".join(problems) or f"docs: {len(documents)} documents hold")
sys.exit(bool(problems))
