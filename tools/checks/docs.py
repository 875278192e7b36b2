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

print("\n".join(problems) or f"docs: {len(documents)} documents hold")
sys.exit(bool(problems))
