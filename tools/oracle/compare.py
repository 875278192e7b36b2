"""Recorded answers beside new ones: compare.py RECORDED.jsonl NEW.jsonl [--whole]. Exit 0 if they agree.

Only what both answers hold is compared. A case that vLLM refuses after its arguments' checks (stages launch, worker,
model) counts as accepted: the new answers end there. With --whole they do not end there: everything recorded is compared,
messages and the stage of a refusal included. Cases recorded from another version of vLLM than the new answers come from
are not counted; where none was recorded from theirs, those with the same id are. Nothing to compare is no agreement.
RECORDED may be the predictions that `shardwise verify --predictions` writes.
"""
import collections
import json
import sys

NOT_COMPARED = {"launch", "message", "error", "where", "rule"}


def differences(recorded, new, whole):
    if whole:
        return [(name, value, new.get(name)) for name, value in recorded.items() if name not in new or new[name] != value]
    later = recorded.get("stage") not in (None, "config") and not recorded.get("accept", True)
    if later:
        return [] if new.get("accept") else [("accept", "at the arguments' checks", new.get("message"))]
    return [(name, recorded[name], new[name]) for name in recorded
            if name in new and name not in NOT_COMPARED and recorded[name] != new[name]]


def read(path):
    with open(path) as file:
        cases = [case | {"expect": case.get("expect", case.get("predict"))} for case in map(json.loads, file)]
    return [case for case in cases if case["expect"] is not None]


def version(case):
    return case.get("input", {}).get("vllm_version")


def comparable(recorded, new):
    """The recorded cases that the new answers are held against."""
    versions, asked = {version(case) for case in new}, {case["id"] for case in new}
    return ([case for case in recorded if "input" not in case or version(case) in versions]
            or [case for case in recorded if case["id"] in asked])


def main():
    paths, whole = [path for path in sys.argv[1:] if path != "--whole"], "--whole" in sys.argv
    every, new = read(paths[0]), read(paths[1])
    recorded = {case["id"]: case["expect"] for case in comparable(every, new)}
    fields, wrong, compared, asked = collections.Counter(), 0, 0, set()
    for case in new:
        if case["id"] not in recorded:
            continue
        compared += 1
        asked.add(case["id"])
        found = differences(recorded[case["id"]], case["expect"], whole)
        wrong += bool(found)
        fields.update(name for name, _, _ in found)
        if found and wrong <= 10:
            for name, was, now in found[:5]:
                print(f"  {case['id']} {name}: recorded {was!r}, vLLM says {now!r}")
    missing = len(recorded) - len(asked)
    if not compared:
        print(f"nothing to compare: {len(every)} recorded answers, {len(new)} new ones")
        return 1
    print(f"{compared - wrong} of {compared} agree" + (f", {missing} were not asked" if missing else "")
          + (": " + ", ".join(f"{name} {n}" for name, n in fields.most_common()) if fields else ""))
    return 1 if wrong or missing else 0


if __name__ == "__main__":
    sys.exit(main())
