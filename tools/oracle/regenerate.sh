#!/usr/bin/env bash
# Asks an installed vLLM about the inputs of tests/golden/{legality,arguments,ranks,experts,eplb,schedule,weights,adapters,offloaded,kv} and compares with what is
# recorded.
#   tools/oracle/regenerate.sh VENV OUT_DIR [NAME...]
# VENV: a Python environment with vLLM (no GPU needed). OUT_DIR receives the answers in the recorded format. NAME: only
# these parts. Exit 0 if all agree; a version other than the recorded one may differ, and the differences are what to look at.
# CASES=DIR asks about other recorded cases, laid out as tests/golden. A version of vLLM laid over VENV's comes by PYTHONPATH.
# docs/oracle.md says more.
set -u
here=$(cd "$(dirname "$0")" && pwd)
golden=${CASES:-$here/../../tests/golden}
[ $# -ge 2 ] || { sed -n '2,8s/^# \?//p' "$0"; exit 2; }
python=$1/bin/python
"$python" -c 'import importlib.util, sys; sys.exit(importlib.util.find_spec("vllm") is None)' || { echo "no vLLM in $1"; exit 2; }
mkdir -p "$2/models" || exit 2
out=$(cd "$2" && pwd)
"$python" "$here/models.py" "$out/models" || exit 2
only=" ${*:3} "
asked=0
status=0
whole=
export OMP_NUM_THREADS=1  # models are built in processes side by side
compare() {  # NAME RECORDED COMMAND...: runs the command with the recorded file and the answer's path
  local name=$1 recorded=$2; shift 2
  case "$only" in "  " | *" $name "*) ;; *) return ;; esac
  asked=$((asked + 1))
  echo "$name"
  "$python" "$@" 2>"$out/$name.log" || { echo "  failed: see $out/$name.log"; tail -1 "$out/$name.log"; status=1; return; }
  "$python" "$here/compare.py" "$recorded" "$out/$name.jsonl" $whole || status=1
}
for name in legality sweep; do
  compare $name "$golden/legality/$name.jsonl" "$here/ask_legality.py" "$golden/legality/$name.jsonl" "$out/$name.jsonl" --models "$out/models"
done
compare groups "$golden/ranks/groups.jsonl" "$here/ask_placement.py" groups "$golden/ranks/groups.jsonl" "$out/groups.jsonl"
compare experts "$golden/experts/experts.jsonl" "$here/ask_placement.py" experts "$golden/experts/experts.jsonl" "$out/experts.jsonl"
compare nodes "$golden/ranks/nodes.jsonl" "$here/ask_nodes.py" "$golden/ranks/nodes.jsonl" "$out/nodes.jsonl" --models "$out/models"
compare eplb "$golden/eplb/eplb.jsonl" "$here/ask_eplb.py" "$golden/eplb/eplb.jsonl" "$out/eplb.jsonl"
compare argument_lists "$golden/arguments/arguments.jsonl" "$here/ask_arguments.py" "$golden/arguments/arguments.jsonl" "$out/argument_lists.jsonl"
for traces in "$golden"/schedule/*.jsonl; do
  name=schedule_$(basename "$traces" .jsonl)
  compare "$name" "$traces" "$here/ask_schedule.py" "$traces" "$out/$name.jsonl"
done
model() {  # NAME SUBCOMMAND RECORDED
  compare "$1" "$3" "$here/ask_model.py" "$2" "$3" "$out/$1.jsonl" --models "$out/models"
}
model adapters adapters "$golden/adapters/adapters.jsonl"
model offloaded offloaded "$golden/offloaded/offloaded.jsonl"
whole=--whole
model model_init init "$golden/legality/model_init.jsonl"
model weights weights "$golden/weights/cases.jsonl"
model kv_specs specs "$golden/kv/specs.jsonl"
model kv_plans plans "$golden/kv/plans.jsonl"
compare kv_versions "$golden/kv/versions.jsonl" "$here/ask_kv.py" "$golden/kv/versions.jsonl" "$out/kv_versions.jsonl" --models "$out/models"
[ $asked -ge $(($# > 3 ? $# - 2 : 1)) ] || { echo "no part is called that: a NAME is that of a file of answers in OUT_DIR"; status=2; }
exit $status
