"""Two recordings side by side, row by row: differences.py OLD.jsonl NEW.jsonl [--rows N]

A row is an object with an "id". Says which rows are new, which are gone and what changed in the others; the last line counts
them. At most N rows of a kind are printed (default: all). Exit 0 in any case: a difference is no fault.
"""
import argparse
import json


def read(path):
    with open(path) as file:
        return {row.pop("id"): row for row in map(json.loads, file)}


def short(value):
    """In lists only what stands out is of use; long values are cut."""
    text = json.dumps(value)
    return text if len(text) <= 100 else text[:97] + "..."


def change(old, new):
    if isinstance(old, list) and isinstance(new, list):
        gone, more = [part for part in old if part not in new], [part for part in new if part not in old]
        if gone or more:
            return " ".join([f"-{short(part)}" for part in gone] + [f"+{short(part)}" for part in more])
    return f"{short(old)} -> {short(new)}"


def changes(old, new):
    return [f"{name} {change(old.get(name), new.get(name))}" for name in dict.fromkeys([*old, *new]) if old.get(name) != new.get(name)]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("old")
    parser.add_argument("new")
    parser.add_argument("--rows", type=int, default=10**9)
    options = parser.parse_args()
    old, new = read(options.old), read(options.new)
    kinds = {"+": [(name, ", ".join(f"{key} {short(value)}" for key, value in new[name].items() if value not in (None, [], False)))
                   for name in new if name not in old],
             "-": [(name, "") for name in old if name not in new],
             "~": [(name, "; ".join(found)) for name in old if name in new and (found := changes(old[name], new[name]))]}
    for mark, rows in kinds.items():
        for name, text in rows[:options.rows]:
            print(f"  {mark} {name}  {text}".rstrip())
        if len(rows) > options.rows:
            print(f"  {mark} {len(rows) - options.rows} more")
    print(f"{len(kinds['+'])} new, {len(kinds['-'])} gone, {len(kinds['~'])} changed, "
          f"{len(set(old) & set(new)) - len(kinds['~'])} the same")


if __name__ == "__main__":
    main()
