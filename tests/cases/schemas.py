"""Published JSON Schemas (docs/formats/schema) against answers. Needs jsonschema 4 (Debian: python3-jsonschema)."""
import copy
import json
import os
import pathlib
import sys

try:
    from jsonschema import Draft202012Validator
except ImportError:  # python3 may be one of the user's own: the system's knows the system's packages
    system = "/usr/bin/python3"
    if os.path.exists(system) and os.path.realpath(system) != os.path.realpath(sys.executable):
        os.execv(system, [system, *sys.argv])
    sys.exit("jsonschema 4 or later is missing: apt-get install python3-jsonschema")

FOLDER = pathlib.Path(__file__).resolve().parents[2] / "docs/formats/schema"


def load():
    """Validators by the name that answers give in "schema"; a file that is no schema raises."""
    found = {}
    common = json.loads((FOLDER / "common.schema.json").read_text())
    Draft202012Validator.check_schema(common)
    for path in sorted(FOLDER.glob("*.schema.json")):
        # What other files hold is put in place: how validators look files up differs by their version.
        schema = json.loads(path.read_text().replace('"common.schema.json#', '"#'))
        schema["$defs"] = {**common["$defs"], **schema.get("$defs", {})}
        Draft202012Validator.check_schema(schema)
        if path.name != "common.schema.json":
            found[schema["properties"]["schema"]["const"]] = Draft202012Validator(schema)
    return found


def problems(validators, answer, most=5):
    """What is wrong with an answer, a line each."""
    name = answer.get("schema") if isinstance(answer, dict) else None
    if name not in validators:
        return [f"no published schema is called {name!r}"]
    return [f"{error.json_path}: {error.message[:300]}" for error in first(validators[name].iter_errors(answer), most)]


def first(items, most):
    return [item for item, _ in zip(items, range(most))]


def places(value, path=()):
    """Every value in an answer with its path; of a list's items the first of each form."""
    yield path, value
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from places(inner, (*path, key))
    elif isinstance(value, list):
        for i, inner in enumerate(value[:1]):
            yield from places(inner, (*path, i))


def lets_through(validators, answer):
    """Wrong answers made from a right one that its schema takes: an unheard-of key, or a value of another kind."""
    validator, passed = validators[answer["schema"]], []
    for path, value in places(answer):
        wrong = {**value, "unheard_of": {}} if isinstance(value, dict) else {"of another": "kind"}
        broken = copy.deepcopy(answer)
        inside = broken
        for key in path[:-1]:
            inside = inside[key]
        if path:
            inside[path[-1]] = wrong
        else:
            broken = wrong
        if validator.is_valid(broken):
            passed.append("$" + "".join(f"[{k}]" if isinstance(k, int) else f".{k}" for k in path))
    return passed
