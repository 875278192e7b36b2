#!/usr/bin/env python3
"""Text cases: runs the commands of tests/cases/*.txt and compares what they print.

A case file holds blocks of
    # why this case is here
    $ plan Llama-3.1-8B --gpus 1xH100        (arguments of shardwise; a trailing '# exit 2' names the exit code)
    > expected line
    > ...                                    (three dots alone: any number of lines)
A '>' line may hold '*' runs written as {*}: any text. --update rewrites expected lines of blocks that have no '...'
and no {*}; those with them are checked only.

Usage: run.py BINARY [--update] [FILE...]
"""
import difflib
import os
import pathlib
import re
import shlex
import subprocess
import sys


def parse(path):
    blocks, block = [], None
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if line.startswith("$ "):
            match = re.match(r"\$ (.*?)(?:\s+# exit (\d+))?$", line)
            block = {"line": number, "args": match.group(1), "exit": int(match.group(2) or 0), "want": [], "head": line}
            blocks.append(block)
        elif line.startswith(">") and block is not None:
            block["want"].append(line[2:] if line.startswith("> ") else line[1:])
        else:
            if block is not None and line.strip():
                block = None
            blocks.append({"text": line})
    return blocks


def line_matches(pattern, line):
    parts = [re.escape(p) for p in pattern.split("{*}")]
    return re.fullmatch(".*".join(parts), line) is not None


def matches(want, got):
    """want may hold '...' lines; plain backtracking over them."""
    if not want:
        return not got
    if want[0] == "...":
        return any(matches(want[1:], got[i:]) for i in range(len(got) + 1))
    return bool(got) and line_matches(want[0], got[0]) and matches(want[1:], got[1:])


def main():
    args = [a for a in sys.argv[1:] if a != "--update"]
    update = "--update" in sys.argv
    binary = str(pathlib.Path(args[0]).resolve())
    here = pathlib.Path(__file__).resolve().parent
    files = [pathlib.Path(a) for a in args[1:]] or sorted(here.glob("*.txt"))
    passed = failed = 0
    env = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "VLLM_"))}
    env.update(NO_COLOR="1", COLUMNS="120", HF_HUB_OFFLINE="1", HOME="/nonexistent")
    for path in files:
        blocks = parse(path)
        for block in blocks:
            if "args" not in block:
                continue
            run = subprocess.run([binary, *shlex.split(block["args"])], capture_output=True, text=True, env=env, cwd=here, timeout=120)
            got = (run.stdout + run.stderr).rstrip("\n").split("\n") if (run.stdout + run.stderr) else []
            loose = any(w == "..." or "{*}" in w for w in block["want"])
            good = run.returncode == block["exit"] and matches(block["want"], got)
            if good:
                passed += 1
            elif update and not loose and run.returncode == block["exit"]:
                block["want"] = got
                passed += 1
            else:
                failed += 1
                print(f"{path.name}:{block['line']}: $ {block['args']}")
                if run.returncode != block["exit"]:
                    print(f"  exit code {run.returncode}, expected {block['exit']}")
                for line in list(difflib.unified_diff(block["want"], got, "expected", "printed", lineterm="", n=1))[:80]:
                    print("  " + line)
        if update:
            out = []
            for block in blocks:
                if "args" not in block:
                    out.append(block["text"])
                    continue
                out.append(block["head"])
                out += ["> " + w if w else ">" for w in block["want"]]
            path.write_text("\n".join(out).rstrip("\n") + "\n")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
