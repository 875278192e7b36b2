#!/usr/bin/env python3
"""@LAYOUT@ without a server: every data-parallel rank is a process that answers its share of the prompts.

On each of the @NODES@ node(s):
    python3 offline_data_parallel.py --node-rank N [--master-addr ADDRESS_OF_NODE_0] [--prompts FILE]
FILE has one prompt a line, in UTF-8; answers go to standard output, one JSON object a line, vLLM's log to standard error.
Arguments of vLLM's own example are taken too; sizes must be those of the plan. If a rank fails, those of its node are
stopped and the exit code is 1; --timeout ends ranks that wait for one of another node.
"""
import argparse
import codecs
import json
import os
import re
import signal
import socket
import sys
import time
from multiprocessing import connection, get_context

@CONSTANTS@

def run_rank(rank, local_rank, model, master_addr, master_port, prompts, max_tokens, writing):
    os.setpgrp()  # its workers end with it
    answers_to = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
@ENVIRONMENT@    from vllm import LLM, SamplingParams

    # A contiguous share; the first ranks take one more. An empty share still gets a prompt, so that the rank takes part.
    share, more = divmod(len(prompts), DP_SIZE)
    first = rank * share + min(rank, more)
    mine = prompts[first:first + share + (rank < more)]
    answers = LLM(**ENGINE | {"model": model}).generate(mine or ["Hello"], SamplingParams(max_tokens=max_tokens))
    lines = [json.dumps({"rank": rank, "prompt": prompt, "answer": answer.outputs[0].text}) + "\n"
             for prompt, answer in zip(mine, answers)]
    with writing:
        answers_to.writelines(lines)
        answers_to.flush()


def read_prompts(path):
    """Its lines that are not empty; they end with LF, CRLF or CR."""
    with open(path, "rb") as file:
        lines = re.split(b"\r\n|\n|\r", file.read().removeprefix(codecs.BOM_UTF8))
    prompts = []
    for number, line in enumerate(lines, 1):
        try:
            prompts.append(line.decode("utf-8"))
        except UnicodeDecodeError as e:
            raise ValueError(f"{path}:{number}: byte {e.start + 1} is not UTF-8 (iconv -t UTF-8 converts)") from None
    return [prompt for prompt in prompts if prompt.strip()]


def free_port():
    with socket.socket() as s:
        s.bind(("", 0))
        return s.getsockname()[1]


def read_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=ENGINE["model"], help="the same model elsewhere, such as a directory")
    parser.add_argument("--node-rank", "--dp-node-rank", type=int, default=0, help="this node, from 0")
    parser.add_argument("--master-addr", "--dp-master-addr", default=MASTER_ADDR, help="address of node 0")
    parser.add_argument("--master-port", "--dp-master-port", type=int, default=MASTER_PORT, help="a free port of node 0")
    parser.add_argument("--prompts", metavar="FILE", help="one prompt a line")
    parser.add_argument("--max-tokens", type=int, default=128)
    parser.add_argument("--timeout", type=float, metavar="SECONDS", help="ranks that run longer are ended; none by default")
    of_plan = {"node_size": len(DP_RANKS_OF_NODE), "dp_size": DP_SIZE, "tp_size": ENGINE.get("tensor_parallel_size", 1)}
    for names in (("--node-size", "--dp-num-nodes"), ("--dp-size", "--data-parallel-size", "-dp"),
                  ("--tp-size", "--tensor-parallel-size", "-tp")):
        parser.add_argument(*names, type=int, help="as the plan has it")
    args = parser.parse_args()
    for name, value in of_plan.items():
        if getattr(args, name) not in (None, value):
            parser.error(f"--{name.replace('_', '-')} {getattr(args, name)}: the plan has {value}; another layout needs a plan of its own")
    if not 0 <= args.node_rank < len(DP_RANKS_OF_NODE):
        parser.error(f"--node-rank {args.node_rank}: the plan has nodes 0 to {len(DP_RANKS_OF_NODE) - 1}")
    try:
        args.prompts = read_prompts(args.prompts) if args.prompts else [f"Count from {i} upwards:" for i in range(4 * DP_SIZE)]
    except (OSError, ValueError) as e:
        parser.error(f"--prompts: {e}")
    if not args.prompts:
        parser.error("--prompts: no line that is not empty")
    if len(DP_RANKS_OF_NODE) == 1:
        args.master_addr, args.master_port = "127.0.0.1", args.master_port or free_port()
    elif not args.master_addr or not args.master_port:
        parser.error("--master-addr, --master-port: the ranks of several nodes meet there")
    return args


def stop(ranks):
    """Ends ranks that still run, and their workers."""
    for how in (signal.SIGTERM, signal.SIGKILL):
        for rank in ranks:
            for end in (lambda: os.killpg(rank.pid, how), lambda: os.kill(rank.pid, how)):
                try:
                    if rank.is_alive():
                        end()
                except ProcessLookupError:  # not its own group yet, or gone
                    pass
        end_by = time.monotonic() + 10
        for rank in ranks:
            rank.join(max(0, end_by - time.monotonic()))


def failure(ranks, timeout):
    """Waits for all; what went wrong with one, or None."""
    end_by = None if timeout is None else time.monotonic() + timeout
    while True:
        codes = {rank: rank.exitcode for rank in ranks}
        for rank, code in codes.items():
            if code:
                return f"{rank.name} ended with exit code {code}"
        running = [rank for rank, code in codes.items() if code is None]
        if not running:
            return None
        left = None if end_by is None else max(0, end_by - time.monotonic())
        if not connection.wait([rank.sentinel for rank in running], left):
            return f"{running[0].name} still runs after {timeout:g} s"


def main():
    args = read_arguments()
    first = sum(DP_RANKS_OF_NODE[:args.node_rank])
    spawn = get_context("spawn")
    writing = spawn.Lock()
    ranks = [spawn.Process(name=f"data-parallel rank {first + local}", target=run_rank,
                           args=(first + local, local, args.model, args.master_addr, args.master_port, args.prompts,
                                 args.max_tokens, writing))
             for local in range(DP_RANKS_OF_NODE[args.node_rank])]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped by SIGTERM"))
    started = []
    try:
        for rank in ranks:
            rank.start()
            started.append(rank)
        if what := failure(ranks, args.timeout):
            sys.exit(what)
    except KeyboardInterrupt:
        sys.exit("stopped by SIGINT")
    finally:
        stop(started)


if __name__ == "__main__":
    main()
