#!/usr/bin/env python3
"""Fails if a file below src/ includes a layer that the table in src/CMakeLists.txt does not allow.

Usage: layers.py SRC_DIR. Prints each offence as file:line and exits 1; silent and 0 otherwise.
A dependency on a layer further down the table, or on a layer that the table lacks, is an offence of the table itself.
"""
import pathlib
import re
import sys


def read_table(cmake_lists):
    table = {}
    for number, line in enumerate(cmake_lists.read_text().splitlines(), 1):
        match = re.match(r"shardwise_layer\(([a-z ]+)\)", line)
        if not match:
            continue
        name, *deps = match.group(1).split()
        for dep in deps:
            if dep not in table:
                sys.exit(f"{cmake_lists}:{number}: layer '{name}' lists '{dep}', which is not above it in the table")
        table[name] = set(deps)
    return table


def main():
    src = pathlib.Path(sys.argv[1])
    table = read_table(src / "CMakeLists.txt")
    offences = []
    for path in sorted(src.rglob("*.h")) + sorted(src.rglob("*.cc")):
        layer = path.relative_to(src).parts[0]
        if layer not in table:
            if path.name not in ("main.cc", "shardwise.h"):
                offences.append(f"{path}:1: folder '{layer}' is no layer of src/CMakeLists.txt")
            continue
        for number, line in enumerate(path.read_text().splitlines(), 1):
            match = re.match(r'\s*#\s*include\s*"([^"]+)"', line)
            if not match:
                continue
            target = match.group(1).split("/")[0]
            if "/" not in match.group(1):
                offences.append(f'{path}:{number}: include "{match.group(1)}": write "{layer}/{match.group(1)}"')
            elif target != layer and target not in table[layer]:
                allowed = " ".join(sorted(table[layer])) or "nothing"
                offences.append(f"{path}:{number}: layer '{layer}' may not include '{target}' (it may include: {allowed})")
    print("\n".join(offences), end="\n" if offences else "", file=sys.stderr)
    return 1 if offences else 0


if __name__ == "__main__":
    sys.exit(main())
