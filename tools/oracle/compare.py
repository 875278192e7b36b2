"""Recorded answers beside new ones: compare.py RECORDED.jsonl NEW.jsonl. Exit 0 if they agree.

Only what both answers hold is compared. A case that vLLM refuses after its arguments' checks (stages launch, worker,
model) counts as accepted: the new answers end there.
"""
import collections
import json
import sys

NOT_COMPARED = {"launch", "message", "error", "where", "rule"}


def differences(recorded, new):
    later = recorded.get("stage") not in (None, "config") and not recorded.get("accept", True)
    if later:
        return [] if new.get("accept") else [("accept", "at the arguments' checks", new.get("message"))]
    return [(name, recorded[name], new[name]) for name in recorded
            if name in new and name not in NOT_COMPARED and recorded[name] != new[name]]


def main():
    recorded = {case["id"]: case["expect"] for case in map(json.loads, open(sys.argv[1])) if "expect" in case}
    fields, wrong, compared, asked = collections.Counter(), 0, 0, set()
    for case in map(json.loads, open(sys.argv[2])):
        if case["id"] not in recorded:
            continue
        compared += 1
        asked.add(case["id"])
        found = differences(recorded[case["id"]], case["expect"])
        wrong += bool(found)
        fields.update(name for name, _, _ in found)
        if found and wrong <= 10:
            for name, was, now in found[:5]:
                print(f"  {case['id']} {name}: recorded {was!r}, vLLM says {now!r}")
    missing = len(recorded) - len(asked)
    print(f"{compared - wrong} of {compared} agree" + (f", {missing} were not asked" if missing else "")
          + (": " + ", ".join(f"{name} {n}" for name, n in fields.most_common()) if fields else ""))
    return 1 if wrong or missing else 0


if __name__ == "__main__":
    sys.exit(main())
