#!/usr/bin/env python3
"""Prints src/shardwise.h and every header below src/ that it includes, directly or not: what is installed.

Usage: public_headers.py SRC
"""
import pathlib
import re
import sys

src = pathlib.Path(sys.argv[1])
seen, todo = set(), ["shardwise.h"]
while todo:
    name = todo.pop()
    if name not in seen and (src / name).is_file():
        seen.add(name)
        todo += re.findall(r'^#include "([^"]+)"', (src / name).read_text(), re.M)
print("\n".join(sorted(seen)))
