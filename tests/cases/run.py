#!/usr/bin/env python3
"""Text cases: runs the commands of tests/cases/*.txt and the sessions of README.md and compares what they print.

A case file holds blocks of
    # why this case is here
    $ plan Llama-3.1-8B --gpus 1xH100        (arguments of shardwise; a trailing '# exit 2' names the exit code)
    > expected line
    > ...                                    (three dots alone: any number of lines)
A '>' line may hold '*' runs written as {*}: any text; {vllm} is the version of vLLM that a question
without --vllm means. What a command with --json prints must keep its schema (docs/formats/schema); behind it may stand
    = answers/plan.json                      (the answer, numbers to nine digits; "{*}" in it: any value)

What README.md has as examples ("    shardwise plan ...") has an answer: exit code 0.

--update rewrites expected lines that have no '...' and no {*}, answers, and the sessions; those with them are checked
only. Commands run as many at a time as there are cores.

Usage: run.py BINARY [--update] [FILE...]
"""
import concurrent.futures
import difflib
import functools
import json
import math
import os
import pathlib
import re
import shlex
import subprocess
import sys
import tempfile

import schemas

HERE = pathlib.Path(__file__).resolve().parent
sys.path.append(str(HERE.parents[1] / "tools" / "oracle"))
from default_version import default_version  # noqa: E402

DEFAULT = default_version()
README = HERE.parents[1] / "README.md"
SESSION, EXAMPLE = "    $ shardwise ", "    shardwise "
PROGRESS = re.compile(r"^shardwise: .*, \d+ s\n", re.M)  # of commands that take longer than a second
WIDTHS = {README: 112}  # columns of the terminal; elsewhere 120


def parse(path):
    blocks, block = [], None
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if line.startswith("$ "):
            match = re.match(r"\$ (.*?)(?:\s+# exit (\d+))?$", line)
            block = {"line": number, "args": match.group(1), "exit": int(match.group(2) or 0), "want": [], "head": line}
            blocks.append(block)
        elif line.startswith(">") and block is not None:
            block["want"].append(line[2:] if line.startswith("> ") else line[1:])
        elif line.startswith("= ") and block is not None:
            block["answer"] = line[2:]
        else:
            if block is not None and line.strip():
                block = None
            blocks.append({"text": line})
    return blocks


def answerable(args):
    """Whether all files that an example names are here."""
    words = shlex.split(args)
    files = [word for before, word in zip(["", *words], words) if before != "--emit" and re.search(r"\.(yaml|json|csv)$", word)]
    return all((HERE / word).exists() for word in files)


def parse_sessions(path):
    """Of a document: '    $ shardwise ...' and the indented lines below it; examples."""
    blocks, block = [], None
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if line.startswith(SESSION):
            block = {"line": number, "args": line[len(SESSION):], "exit": 0, "want": [], "head": line}
            blocks.append(block)
        elif block is not None and (line.startswith("    ") or not line):
            block["want"].append(line[4:])
        else:
            while block is not None and block["want"] and not block["want"][-1]:
                block["want"].pop()
            if block is not None:
                blocks.append({"text": ""})
            block = None
            blocks.append({"text": line})
            if line.startswith(EXAMPLE) and answerable(line[len(EXAMPLE):]):
                blocks[-1].update(line=number, args=line[len(EXAMPLE):], exit=0, want=["..."])
    return blocks


def written(path, blocks):
    """The file's text."""
    out = []
    for block in blocks:
        if "text" in block:
            out.append(block["text"])
            continue
        out.append(block["head"])
        lead = "    " if path == README else "> "
        out += [(lead + w).rstrip() for w in block["want"]]
        if "answer" in block:
            out.append("= " + block["answer"])
    return "\n".join(out).rstrip("\n") + "\n"


def line_matches(pattern, line):
    parts = [re.escape(p) for p in pattern.replace("{vllm}", DEFAULT).split("{*}")]
    return re.fullmatch(".*".join(parts), line) is not None


def matches(want, got):
    """want may hold '...' lines; plain backtracking over them."""
    if not want:
        return not got
    if want[0] == "...":
        return any(matches(want[1:], got[i:]) for i in range(len(got) + 1))
    return bool(got) and line_matches(want[0], got[0]) and matches(want[1:], got[1:])


def same_text(want, got):
    return want == "{*}" or (isinstance(want, str) and isinstance(got, str) and line_matches(want, got))


def differences(want, got, path="$"):
    """Where two answers differ, a line each."""
    if same_text(want, got):
        return []
    if isinstance(want, dict) and isinstance(got, dict):
        out = [f"{path}.{k}: expected, not printed" for k in want if k not in got]
        out += [f"{path}.{k}: printed, not expected" for k in got if k not in want]
        return out + [d for k in want if k in got for d in differences(want[k], got[k], f"{path}.{k}")]
    if isinstance(want, list) and isinstance(got, list) and len(want) == len(got):
        return [d for i, (a, b) in enumerate(zip(want, got)) for d in differences(a, b, f"{path}[{i}]")]
    if isinstance(want, float) and isinstance(got, float) and math.isclose(want, got, rel_tol=1e-9, abs_tol=1e-12):
        return []
    if type(want) is type(got) and want == got:
        return []
    return [f"{path}: expected {json.dumps(want)[:100]}, printed {json.dumps(got)[:100]}"]


def kept(want, got):
    """The new answer to nine digits and more, with the old one's "{*}"."""
    if same_text(want, got):
        return want
    if isinstance(got, float):
        return float(f"{got:.11g}")
    if isinstance(got, dict):
        return {k: kept(want.get(k) if isinstance(want, dict) else None, v) for k, v in got.items()}
    if isinstance(got, list):
        old = want if isinstance(want, list) and len(want) == len(got) else [None] * len(got)
        return [kept(a, b) for a, b in zip(old, got)]
    return got


def shown(value, indent=0):
    """JSON text in which what is short stands on one line."""
    line = json.dumps(value)
    if len(line) + indent <= 140 or not isinstance(value, (dict, list)):
        return line
    pad = " " * (indent + 1)
    if isinstance(value, dict):
        items = [f"{pad}{json.dumps(k)}: {shown(v, indent + 1)}" for k, v in value.items()]
        return "{\n" + ",\n".join(items) + "\n" + " " * indent + "}"
    if all(not isinstance(v, (dict, list)) for v in value):
        lines, row = [], ""
        for word in (json.dumps(v) for v in value):
            if row and len(pad) + len(row) + len(word) > 138:
                lines.append(row)
                row = ""
            row += (", " if row else "") + word
        return "[\n" + ",\n".join(pad + r for r in [*lines, row]) + "\n" + " " * indent + "]"
    return "[\n" + ",\n".join(pad + shown(v, indent + 1) for v in value) + "\n" + " " * indent + "]"


validators = functools.cache(schemas.load)


def judge_answer(block, text, update):
    """Problems of a JSON answer with its schema and with the recorded one."""
    try:
        got = json.loads(text)
    except ValueError as error:
        return [f"not JSON: {error}"]
    found = schemas.problems(validators(), got)
    if found or "answer" not in block:
        return found
    path = HERE / block["answer"]
    want = json.loads(path.read_text()) if path.exists() else None
    different = differences(want, got)
    if different and update:
        path.write_text(shown(kept(want, got)) + "\n")
        different = []
    return different + [f"{place}: anything passes its schema" for place in schemas.lets_through(validators(), got)]


def judge(binary, block, width, update):
    """Runs a block: what is wrong with it, a line each, and the lines to expect from now on."""
    env = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "VLLM_"))}
    env.update(NO_COLOR="1", COLUMNS=str(width), HF_HUB_OFFLINE="1", HOME="/nonexistent")
    words = shlex.split(block["args"])
    with tempfile.TemporaryDirectory() as folder:
        if "text" in block:  # an example may write files
            for path in HERE.iterdir():
                pathlib.Path(folder, path.name).symlink_to(path)
        run = subprocess.run([binary, *words], capture_output=True, text=True, env=env, cwd=folder if "text" in block else HERE, timeout=120)
    printed = run.stdout + PROGRESS.sub("", run.stderr)
    got = printed.rstrip("\n").split("\n") if printed else []
    if run.returncode != block["exit"]:
        return [f"exit code {run.returncode}, expected {block['exit']}", *got[:20]], block["want"]
    if "--json" in words and run.returncode != 2:
        return judge_answer(block, run.stdout, update), block["want"]
    if matches(block["want"], got):
        return [], block["want"]
    if update and not any(w == "..." or "{*}" in w for w in block["want"]):
        return [], got if "--vllm" in words or width in WIDTHS.values() else [line.replace(DEFAULT, "{vllm}") for line in got]
    return list(difflib.unified_diff(block["want"], got, "expected", "printed", lineterm="", n=1))[:80], block["want"]


def main():
    update = "--update" in sys.argv
    args = [a for a in sys.argv[1:] if a != "--update"]
    binary = str(pathlib.Path(args[0]).resolve())
    paths = [pathlib.Path(a).resolve() for a in args[1:]] or [*sorted(HERE.glob("*.txt")), README]
    files = {path: parse_sessions(path) if path.suffix == ".md" else parse(path) for path in paths}
    passed = failed = 0
    with concurrent.futures.ProcessPoolExecutor() as pool:
        asked = [(path, block, pool.submit(judge, binary, block, WIDTHS.get(path, 120), update))
                 for path, blocks in files.items() for block in blocks if "args" in block]
        for path, block, future in asked:
            wrong, block["want"] = future.result()
            passed, failed = passed + (not wrong), failed + bool(wrong)
            if wrong:
                print(f"{path.name}:{block['line']}: $ {block['args']}", *("  " + line for line in wrong), sep="\n")
    for path, blocks in files.items() if update else ():
        path.write_text(written(path, blocks))
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
