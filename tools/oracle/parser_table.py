"""Makes data/vllm/arguments.csv and data/vllm/config_fields.csv from the answers of ask_parser.py, one file a version.

  python3 parser_table.py ANSWER.json... DATA_DIR         # of these versions alone
  python3 parser_table.py --add ANSWER.json DATA_DIR      # a version newer than those of the tables that are there

A row holds from the version `since` until before `gone`; an empty cell is the first or the last version that was read. A fact that
changes has one row for each of its forms.
"""
import csv
import json
import pathlib
import re
import sys

ARGUMENTS = ["name", "spelled", "off", "words", "reads", "type", "field", "part", "since", "gone"]
FIELDS = ["class", "field", "type", "required", "default", "since", "gone"]
NARROWER = r"(int|float)[<>%]|upper\(|\d|@SpeculativeConfig"  # types of fields that refuse what the parser takes
HEAD = {
    "arguments.csv": """# Every argument of vllm serve, read off the parsers of vLLM {first} to {last} by tools/oracle/ask_parser.py; written by parser_table.py.
# spelled, off: what names it and what says no. words: how many follow it (0, 1, ? = none or one, + = one or more). reads: how a word becomes
# a value; a ? behind it: "" and None are no value. type: what the parser takes of those values; field: what the configuration does that the
# value becomes, where that is less (both as in src/parallel/value_type.h). part: server = the HTTP front end reads it.
""",
    "config_fields.csv": """# The fields of the configurations that arguments of vllm serve hold, read off vLLM {first} to {last} by tools/oracle/ask_parser.py;
# written by parser_table.py. Types are those of src/parallel/value_type.h. A row without a field: the class, whose type says whether it takes other keys.
"""}


def key(version):
    return [int(part) for part in version.split(".")]


def arguments(answer):
    for row in answer["arguments"]:
        field = row["field"] if re.match(NARROWER, row["field"]) else ""
        yield (row["name"], " ".join(row["spelled"]), " ".join(row["off"]), row["words"], row["reads"], row["type"], field, row["part"])


def fields(answer):
    for name, of in answer["classes"].items():
        yield (name, "", "open" if of["open"] else "closed", "0", "")
        for field in of["fields"]:
            yield (name, field["name"], field["type"], str(int(field["required"])), field["default"])


def ranges(answers, rows_of):
    """Every row with the (since, gone) of each stretch of versions that has it, in the order in which the newest version has them."""
    versions = [answer["version"] for answer in answers]
    has = [list(dict.fromkeys(rows_of(answer))) for answer in answers]
    order = {place(rows_of, row): i for i, row in enumerate(has[-1])}
    for row in dict.fromkeys(row for rows in reversed(has) for row in rows):
        at = [i for i, rows in enumerate(has) if row in rows]
        for start in [i for i in at if i - 1 not in at]:
            end = next(i for i in range(start, len(has) + 1) if i not in at)
            name = place(rows_of, row)
            yield (order.get(name, len(order)), name, start), row + (versions[start] if start else "", versions[end] if end < len(versions) else "")


def place(rows_of, row):
    return row[:2] if rows_of is fields else row[:1]


def extended(old, answer, rows_of):
    """The rows of a table, ended where the answer has them no more, and the answer's new ones behind the older forms of the same thing."""
    now, version = list(dict.fromkeys(rows_of(answer))), answer["version"]
    held = {row[:-2] for row in old if not row[-1]}
    rows = [row if row[-1] or row[:-2] in now else row[:-1] + (version,) for row in old]
    for i, row in enumerate(now):
        if row in held:
            continue
        before = {place(rows_of, of) for of in now[:i + 1]}
        at = max((j + 1 for j, of in enumerate(rows) if place(rows_of, of) == place(rows_of, row)),
                 default=max((j + 1 for j, of in enumerate(rows) if place(rows_of, of) in before), default=0))
        rows.insert(at, row + (version, ""))
    return rows


def write(path, columns, rows, first, last):
    with open(path, "w", newline="") as out:
        out.write(HEAD[path.name].format(first=first, last=last))
        table = csv.writer(out, lineterminator="\n")
        table.writerow(columns)
        table.writerows(rows)


def read(path):
    """(rows, the first version of the table, the last)"""
    lines = path.read_text().splitlines()
    first, last = re.search(r"vLLM (\S+) to (\S+) by", lines[0])[1], re.search(r"vLLM (\S+) to (\S+) by", lines[0])[2]
    return list(map(tuple, csv.reader(line for line in lines if not line.startswith("#"))))[1:], first, last


TABLES = (("arguments.csv", ARGUMENTS, arguments), ("config_fields.csv", FIELDS, fields))


def add(answer, folder):
    for name, columns, rows_of in TABLES:
        rows, first, last = read(folder / name)
        if key(answer["version"]) <= key(last):
            raise SystemExit(f"{folder / name} has {last} already")
        write(folder / name, columns, extended(rows, answer, rows_of), first, answer["version"])


def make(answers, folder):
    answers.sort(key=lambda answer: key(answer["version"]))
    for name, columns, rows_of in TABLES:
        rows = [row for _, row in sorted(ranges(answers, rows_of))]
        write(folder / name, columns, rows, answers[0]["version"], answers[-1]["version"])


def main():
    words = sys.argv[1:]
    adds = "--add" in words
    *files, folder = (pathlib.Path(word) for word in words if word != "--add")
    answers = [json.loads(file.read_text()) for file in files]
    if not answers or (adds and len(answers) > 1):
        raise SystemExit(__doc__)
    add(answers[0], folder) if adds else make(answers, folder)


if __name__ == "__main__":
    main()
