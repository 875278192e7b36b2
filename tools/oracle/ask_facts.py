"""What an installed vLLM declares, one JSON object a line, so that two versions can be laid side by side (differences.py).

  python ask_facts.py registry|arguments|defaults OUT.jsonl

registry: the model classes it registers, with what they support (architectures.py), and the model types whose config.json it
reads. arguments: every argument of `vllm serve`: its spellings, how many words follow it, which words it takes, its default.
defaults: every field of its configuration classes with the words it may hold, the batch defaults of every GPU by entry, and the
environment variables.
"""
import argparse
import contextlib
import dataclasses
import enum
import importlib
import inspect
import json
import os
import pathlib
import sys
import typing

import architectures
import emulated_node
import vllm

PACKAGE = pathlib.Path(vllm.__file__).parent
# Words that tell the types of arguments apart.
PROBES = ("8", "-1", "8k", "8K", "1.5", "auto", "none", "word", '{"a": 1}', "[1]", "a=1")


def plain(value):
    """As JSON; what JSON cannot hold as text that is the same in every process."""
    if isinstance(value, enum.Enum):
        return value.name
    if isinstance(value, (str, int, float, bool, type(None))):
        return value
    if isinstance(value, dict):
        return {str(key): plain(of) for key, of in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(part) for part in value]
    if isinstance(value, (set, frozenset)):
        return sorted(map(str, value))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return type(value).__name__
    return getattr(value, "__qualname__", type(value).__name__)


def registry():
    tree = architectures.Tree(str(PACKAGE))
    for name, (group, module, kind) in sorted(tree.registry().items()):
        bases = tree.bases(module, kind)
        yield name, {"class": f"{module.removeprefix('vllm.model_executor.models.')}:{kind}",
                     "kind": group, "supports": [base for base in architectures.INTERFACES if base in bases],
                     "eplb": tree.eplb(module)}
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES
    from vllm.transformers_utils.config import _CONFIG_REGISTRY
    own = set(dict.keys(_CONFIG_REGISTRY))
    for model_type in sorted(own | set(CONFIG_MAPPING_NAMES)):
        yield f"model_type {model_type}", {"read_by": "vllm" if model_type in own else "transformers"}


def takes(action, word):
    kind = action.type or str
    with contextlib.suppress(Exception), contextlib.redirect_stderr(None):
        value = kind(word)
        return action.choices is None or value in action.choices
    return False


def one_argument(parser, action):
    spelled = [name for name, of in parser._option_string_actions.items() if of is action]
    off = getattr(action, "negative_option_strings", None) or {name for name in spelled if isinstance(action, argparse.BooleanOptionalAction)
                                                              and name.startswith("--no-")}
    return {"spelled": sorted(set(spelled) - set(off)), "off": sorted(off),
            "words": "0" if action.nargs == 0 else str(action.nargs or 1),
            "takes": None if action.nargs == 0 else [word for word in PROBES if takes(action, word)],
            "choices": None if action.choices is None else sorted(map(str, action.choices)),
            "default": plain(action.default), "deprecated": action in getattr(parser, "_deprecated", ())}


def arguments():
    from vllm.entrypoints.cli import serve
    from vllm.utils.argparse_utils import FlexibleArgumentParser
    parser = serve.make_arg_parser(FlexibleArgumentParser().add_subparsers().add_parser("serve"))
    for action in sorted(parser._actions, key=lambda action: action.dest):
        if action.option_strings and action.dest != "help":
            yield action.dest, one_argument(parser, action)


def words_of(hint):
    """Literal choices anywhere in a type, None if there are none."""
    if typing.get_origin(hint) is typing.Literal:
        return list(map(plain, typing.get_args(hint)))
    found = [words_of(part) for part in typing.get_args(hint)]
    return next((words for words in found if words), None)


def fields(kind):
    hints = {}
    with contextlib.suppress(Exception):
        hints = typing.get_type_hints(kind)
    for field in dataclasses.fields(kind):
        default = field.default
        if type(default).__name__ == "FieldInfo":  # pydantic's own
            default = default.default if default.default_factory is None else default.default_factory
        if default is dataclasses.MISSING:
            default = field.default_factory if field.default_factory is not dataclasses.MISSING else "(required)"
        yield f"{kind.__name__}.{field.name}", {"default": plain(default), "choices": words_of(hints.get(field.name))}


def config_classes():
    for file in sorted((PACKAGE / "config").glob("*.py")):
        module = importlib.import_module(f"vllm.config.{file.stem}" if file.stem != "__init__" else "vllm.config")
        for _, kind in sorted(inspect.getmembers(module, inspect.isclass)):
            if dataclasses.is_dataclass(kind) and kind.__module__ == module.__name__:
                yield kind


def batch_defaults():
    from vllm.engine.arg_utils import EngineArgs
    for gpu in emulated_node.GPUS:
        emulated_node.Node.become(gpu, 8)
        tokens, seqs = EngineArgs.get_batch_defaults(1)
        for name, by_entry in (("max_num_batched_tokens", tokens), ("max_num_seqs", seqs)):
            yield f"batch {gpu} {name}", {getattr(entry, "name", str(entry)): value for entry, value in by_entry.items()}


def defaults():
    from vllm.engine.arg_utils import EngineArgs
    for kind in (*config_classes(), EngineArgs):
        yield from fields(kind)
    yield from batch_defaults()
    import vllm.envs
    for name, read in sorted(vllm.envs.environment_variables.items()):
        value = "(unreadable)"
        with contextlib.suppress(Exception):
            value = plain(read())
        # Paths and names of this machine, names drawn at random.
        here = isinstance(value, str) and ("/" in value or value == os.uname().nodename or "SHM_BUFFER" in name)
        yield f"environment {name}", {"default": "(of the machine)" if here else value}


FACTS = {"registry": registry, "arguments": arguments, "defaults": defaults}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=FACTS)
    parser.add_argument("out")
    options = parser.parse_args()
    with contextlib.redirect_stdout(sys.stderr):
        rows = list(FACTS[options.what]())
    with open(options.out, "w") as out:
        for name, facts in rows:
            out.write(json.dumps({"id": name} | facts) + "\n")


if __name__ == "__main__":
    main()
