"""Asks the parser of an installed vLLM which argument lists it takes: python ask_arguments.py CASES OUT

Cases and answers are JSON lines: {"id", "input": {"argv": [...]}} and the same with "expect": {"ok", "error"}; argv stands behind
`vllm serve MODEL`. Nothing that needs a model, a GPU or a file is asked.
"""
import contextlib
import io
import json
import sys

import arguments
import ask_parser
import vllm


def answer(parser, argv):
    err = io.StringIO()
    try:
        with contextlib.redirect_stderr(err), contextlib.redirect_stdout(io.StringIO()):
            parser.parse_args(["m", *argv])
    except SystemExit as end:
        return {"ok": True} if end.code in (0, None) else {"ok": False, "error": err.getvalue().split("error: ")[-1].strip()[:200]}
    except Exception as refusal:  # pydantic's, and what vLLM's own functions raise
        return {"ok": False, "error": f"{type(refusal).__name__}: {refusal}"[:200]}
    return {"ok": True}


def main():
    options = arguments.parse(__doc__)
    with contextlib.redirect_stdout(sys.stderr):
        parser, _ = ask_parser.make_parser()
    with open(options.cases) as cases, open(options.out, "w") as out:
        for row in map(json.loads, cases):
            row["input"]["vllm_version"] = vllm.__version__.split("+")[0]
            out.write(json.dumps(row | {"expect": answer(parser, row["input"]["argv"])}, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
