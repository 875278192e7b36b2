"""The parser of `vllm serve` of an installed vLLM as data: every argument, and every field of the configurations that arguments hold.

  python ask_parser.py OUT.json    # then parser_table.py makes one table of the answers of all versions

An argument: its name, its spellings, those that say no, how many words follow it, how a word is read, what it may be, and the field of
a configuration that the value becomes with its type. A field: its class, name, type and whether it must be given. Types are written
as src/parallel/value_type.h reads them. What vLLM's Python code checks beside its types is no data: src/parallel/config_checks.cc
answers the functions named in CHECKED, and a function that is in no list here is written to standard error.
"""
import argparse
import ast
import contextlib
import dataclasses
import enum
import importlib
import inspect
import json
import os
import pathlib
import re
import sys

os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")

# Answered by src/parallel/config_checks.cc, or refusing nothing that a command line can say.
CHECKED = re.compile(r"_validate_eplb_config|_validate_shared_memory|_validate_structured_output_config|_validate_profiler_config|"
                     r"reject_removed_parameters|_validate_targets_exclusivity|SpeculativeConfig._verify_args|LoadConfig._|"
                     r"(EPLB|KVTransfer|ECTransfer|EncoderCacheManager|Pooler|Pass|Compilation|Attention|KVEvents|Weight\w+|Profiler|Speculative)Config.__post_init__")


def words(values):
    return "|".join(json.dumps(value) for value in values)


def members(kind):
    """Words and numbers that are values of an enum; others cannot be written as JSON."""
    return [of.value for of in kind if isinstance(of.value, (str, int))]


def either(*types):
    flat = [part for text in types for part in ([text] if text not in ("never", "") else [])]
    return "|".join(flat) or "never"


class Types:
    """pydantic's schemas as text; the classes met on the way are in `classes`."""

    def __init__(self):
        self.classes, self.unknown, self.refs, self.at = {}, set(), {}, None

    def text(self, schema):
        kind = schema["type"]
        made = getattr(self, "of_" + kind.replace("-", "_"), None)
        if made is None:
            self.unknown.add(f"schema {kind} at {self.at}")
            return "any"
        return made(schema)

    def bounds(self, schema):
        signs = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<", "multiple_of": "%", "min_length": "#>=", "max_length": "#<="}
        if schema.get("pattern"):
            self.unknown.add(f"pattern at {self.at}")
        return "".join(f"{sign}{schema[name]}" for name, sign in signs.items() if schema.get(name) is not None)

    def of_int(self, schema): return "int" + self.bounds(schema)
    def of_float(self, schema): return "float" + self.bounds(schema)
    def of_str(self, schema): return "str" + self.bounds(schema)
    def of_bool(self, schema): return "bool"
    def of_any(self, schema): return "any"
    def of_none(self, schema): return "null"
    def of_literal(self, schema): return words(schema["expected"])
    def of_is_instance(self, schema): return "never"
    def of_is_subclass(self, schema): return "never"
    def of_callable(self, schema): return "never"
    def of_list(self, schema): return f"[{self.text(schema.get('items_schema', {'type': 'any'}))}]" + self.bounds(schema)
    def of_set(self, schema): return self.of_list(schema)
    def of_nullable(self, schema): return either(self.text(schema["schema"]), "null")
    def of_default(self, schema): return self.text(schema["schema"])
    def of_union(self, schema): return either(*(self.text(of[0] if isinstance(of, tuple) else of) for of in schema["choices"]))
    def of_json_or_python(self, schema): return self.text(schema["json_schema"])
    def of_lax_or_strict(self, schema): return self.text(schema["lax_schema"])
    def of_enum(self, schema): return words(value for value in members(schema["members"]) if value is not None) or "never"
    def of_chain(self, schema): return self.text(schema["steps"][0])
    def of_definition_ref(self, schema): return self.text(self.refs[schema["schema_ref"]])

    def of_dict(self, schema):
        free = {"type": "any"}
        return f"{{{self.text(schema.get('keys_schema', free))}:{self.text(schema.get('values_schema', free))}}}" + self.bounds(schema)

    def of_tuple(self, schema):
        if "variadic_item_index" in schema:
            return f"[{self.text(schema['items_schema'][0])}]"
        return "(" + ",".join(map(self.text, schema["items_schema"])) + ")"

    def of_definitions(self, schema):
        self.refs |= {of["ref"]: of for of in schema["definitions"]}
        return self.text(schema["schema"])

    def of_dataclass(self, schema):
        cls, inner, checks = schema["cls"], schema["schema"], []
        if cls.__name__ not in self.classes:
            self.classes[cls.__name__] = made = {"checks": checks}
            while inner["type"].startswith("function-"):
                checks.append(self.function(inner).__qualname__)
                inner = inner["schema"]
            config = getattr(cls, "__pydantic_config__", {}) or {}
            made["open"] = config.get("extra") != "forbid"
            made["fields"] = [self.field(cls, of["name"], of["schema"]) for of in inner["fields"] if of.get("init") is not False]
            if "__post_init__" in cls.__dict__ and "raise" in inspect.getsource(cls.__post_init__):
                checks.append(f"{cls.__name__}.__post_init__")
            for name in dict.fromkeys(checks):
                if not CHECKED.search(name):
                    self.unknown.add(f"check {name}")
        return "@" + cls.__name__

    def of_typed_dict(self, schema):
        name = schema["cls"].__name__
        if name not in self.classes:
            self.classes[name] = {"checks": [], "open": schema.get("extra_behavior", "ignore") != "forbid", "fields": [
                {"name": key, "type": self.text(of["schema"]), "required": bool(of.get("required", True)), "default": ""}
                for key, of in schema["fields"].items()]}
        return "@" + name

    def field(self, cls, name, schema):
        self.at = (cls, name)
        default = schema.get("default", schema.get("default_factory", lambda: None)() if not schema.get("default_factory_takes_data") else None)
        if isinstance(default, enum.Enum):
            default = default.value
        return {"name": name, "type": self.text(schema), "required": schema["type"] != "default",
                "default": json.dumps(default) if isinstance(default, (bool, int, float, str)) else ""}

    def function(self, schema):
        of = schema["function"]["function"] if isinstance(schema["function"], dict) else schema["function"]
        return getattr(of, "__func__", of)

    def of_function_wrap(self, schema):
        inner, name = self.text(schema["schema"]), self.function(schema).__qualname__
        if "is None" in inspect.getsource(self.function(schema)):
            return inner if inner.endswith("|null") else either(inner, "null")
        self.unknown.add(f"wrap {name}")
        return inner

    def of_function_after(self, schema):
        name = self.function(schema).__qualname__
        inner = self.text(schema["schema"])
        if name.endswith("validate_compile_cache_save_format"):
            return words(["binary", "unpacked"])
        if inner.startswith("@") and inner[1:] in self.classes:
            self.classes[inner[1:]]["checks"].append(name)
        if not name.endswith("path_validator") and not CHECKED.search(name):
            self.unknown.add(f"after {name}")
        return inner

    def of_function_plain(self, schema):
        name = self.function(schema).__qualname__
        if name == "_coerce_quant_key":
            return either(words(importlib.import_module("vllm.config.quantization").QUANT_KEY_NAMES), "null")
        self.unknown.add(f"plain {name}")
        return "any"

    def of_function_before(self, schema):
        of, at = self.function(schema), self.at
        source, inner = inspect.getsource(of), self.text(schema["schema"])
        name = of.__qualname__
        named = re.search(r"(\w+)\[(?:value\.upper\(\)|mode_name)\]", source)
        if name.endswith("validate_backend_per_kind_before"):
            kinds = importlib.import_module("vllm.v1.kv_cache_interface").KVCacheSpecKind
            backends = importlib.import_module("vllm.v1.attention.backends.registry").AttentionBackendEnum
            return either("{" + words(kind.value for kind in kinds) + ":upper(" + words(backends.__members__) + ")}",
                          "null" if "null" in inner else "")
        if named:
            values = inner.replace("|null", "")
            auto = '"auto"' in source
            return either("upper(" + words([*of.__globals__[named[1]].__members__, *(["AUTO"] if auto else [])]) + ")",
                          values if not values.startswith('"') else "", "null" if auto or "null" in inner else "")
        if 'lower().replace("-", "_")' in source:
            return f"folded({inner})"
        if name.endswith("validate_pass_config_before"):
            return inner
        if name == "IrOpPriorityConfig._to_list_str":
            return "str|[str]"
        if name.endswith("._coerce_spec"):
            return either(self.taken(at, schema), inner)
        if name.endswith("._validate_targets"):
            return either("{str:" + words(importlib.import_module("vllm.config.quantization")._ONLINE_SHORTHANDS) + "}", "null")
        if inner.startswith("@") and inner[1:] in self.classes:
            self.classes[inner[1:]]["checks"].append(name)
        if not CHECKED.search(name):
            self.unknown.add(f"before {name}")
        return inner

    def module_path(self):
        """LoRAModulePath, which is built from the keys as they are."""
        for place in ("models.protocol", "protocol"):
            with contextlib.suppress(ImportError, AttributeError):
                cls = importlib.import_module(f"vllm.entrypoints.openai.{place}").LoRAModulePath
                break
        self.classes[cls.__name__] = {"open": False, "checks": [], "fields": [
            {"name": of.name, "type": "any", "required": of.default is dataclasses.MISSING, "default": ""} for of in dataclasses.fields(cls)]}
        return "@" + cls.__name__

    def taken(self, at, schema):
        """The shorthands that a field of QuantizationConfigArgs takes."""
        from vllm.config import quantization
        found = []
        for word in sorted({*getattr(quantization, "QUANT_KEY_NAMES", ()), *quantization._ONLINE_SHORTHANDS}):
            with contextlib.suppress(Exception):
                at[0](**{at[1]: word})
                found.append(word)
        return words(found)


def reads(types, kind):
    """(how a word is read, type of the configuration it holds)"""
    name = getattr(kind, "__qualname__", None)
    if kind in (None, str):
        return "text", ""
    if kind in (int, float):
        return name, ""
    if name.startswith("optional_type") or name.startswith("parse_type"):
        how, holds = reads(types, inspect.getclosurevars(kind).nonlocals["return_type"])
        return how + ("?" if name.startswith("optional_type") else ""), holds
    if "parse_dataclass" in name:
        from pydantic import TypeAdapter
        return "config", types.text(TypeAdapter(kind.__defaults__[0]).core_schema)
    known = {"human_readable_int": "human_int", "human_readable_int_or_auto": "length", "loads": "json", "union_dict_and_str": "text_or_json",
             "parse_reasoning_parser": "text"}
    if name in known:
        return known[name], ""
    source = inspect.getsource(kind)
    if 'lower().replace("-", "_")' in source:
        return "folded", ""
    if "isdigit" in source:
        return "device_ids", ""
    types.unknown.add(f"type {name}")
    return "text", ""


def fields_of_arguments():
    """Argument -> (class, field) of the configuration that it becomes, read off the defaults of EngineArgs."""
    from vllm.engine import arg_utils
    tree = ast.parse(pathlib.Path(arg_utils.__file__).read_text())
    engine = next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "EngineArgs")
    for node in engine.body:
        value = getattr(node, "value", None)
        if not isinstance(node, ast.AnnAssign) or value is None:
            continue
        if isinstance(value, ast.Attribute) and isinstance(value.value, ast.Name):
            yield node.target.id, getattr(arg_utils, value.value.id, None), value.attr
        if isinstance(value, ast.Call) and getattr(value.func, "id", "") == "get_field":
            yield node.target.id, getattr(arg_utils, value.args[0].id, None), value.args[1].value


def holds(types):
    """Argument -> type of the field that it becomes. Only ranges and words of it are used: what its functions do beside is not asked."""
    found, unknown = {}, set(types.unknown)
    for argument, cls, name in fields_of_arguments():
        schema = getattr(cls, "__pydantic_core_schema__", None)
        if schema is None:
            continue
        collect = [schema]
        while collect:  # down to the arguments of the class
            of = collect.pop()
            if of["type"] == "definitions":
                types.refs |= {ref["ref"]: ref for ref in of["definitions"]}
            if of["type"] == "definition-ref":
                collect.append(types.refs[of["schema_ref"]])
            elif of["type"] == "dataclass-args":
                for field in of["fields"]:
                    if field["name"] == name:
                        found[argument] = types.field(cls, name, field["schema"])["type"]
            elif "schema" in of:
                collect.append(of["schema"])
    types.unknown = unknown
    return found


def one_argument(parser, types, action, fields, front_end):
    spelled = [name for name, of in parser._option_string_actions.items() if of is action]
    off = getattr(action, "negative_option_strings", None) or {
        name for name in spelled if isinstance(action, argparse.BooleanOptionalAction) and name.startswith("--no-")}
    how, kind = reads(types, action.type)
    if action.nargs == 0:
        how = "help" if isinstance(action, argparse._HelpAction) else "switch"
    if type(action).__name__ == "LoRAParserAction":
        how, kind = "lora" + "?" * how.endswith("?"), types.module_path()
    if action.choices is not None:
        kind = either(words(choice for choice in action.choices if choice is not None), "null" if None in action.choices else "")
    if action.nargs not in (0, None, "?", "+"):
        types.unknown.add(f"nargs {action.nargs} of {action.dest}")
    return {"name": action.dest, "spelled": [name for name in spelled if name not in off], "off": sorted(off),
            "words": "0" if action.nargs == 0 else str(action.nargs or 1), "reads": how, "type": kind,
            "field": fields.get(action.dest, ""), "part": "server" if action.dest in front_end else "other"}


def make_parser():
    """The parser, and the names of the arguments that the HTTP front end reads."""
    for place in ("common", "launchers", "openai"):  # where it stood in some version
        with contextlib.suppress(ImportError):
            cli_args = importlib.import_module(f"vllm.entrypoints.{place}.cli_args")
            break
    from vllm.utils.argparse_utils import FlexibleArgumentParser
    return cli_args.make_arg_parser(FlexibleArgumentParser(prog="vllm serve")), {of.name for of in dataclasses.fields(cli_args.FrontendArgs)}


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("out")
    out = options.parse_args().out
    import vllm
    from pydantic import TypeAdapter
    with contextlib.redirect_stdout(sys.stderr):
        (parser, front_end), types = make_parser(), Types()
        from vllm.config import SpeculativeConfig
        fields = holds(types) | {"speculative_config": types.text(SpeculativeConfig.__pydantic_core_schema__)}
        arguments = [one_argument(parser, types, action, fields, front_end) for action in parser._actions if action.option_strings]
    for what in sorted(types.unknown):
        print(f"vLLM {vllm.__version__}: not mirrored: {what}", file=sys.stderr)
    pathlib.Path(out).write_text(json.dumps({"version": vllm.__version__.split("+")[0], "arguments": arguments, "classes": types.classes}, indent=1))


if __name__ == "__main__":
    main()
