#!/usr/bin/env bash
# A new vLLM version in one command: installs it, records what it declares and answers, and lists what differs.
#   tools/oracle/new_version.sh X.Y.Z WORK [NAME...]
# WORK receives the installation (install.py), WORK/records/X.Y.Z the recordings and report.txt. NAME: only these parts
# (registry arguments defaults parser, and those of regenerate.sh). What is there is not recorded again.
#   LAST=Y.Y.Y           the version to compare with (default: the one that this source tree takes for granted)
#   CASES=DIR            recorded cases to ask about, laid out as tests/golden (default: tests/golden)
#   SHARDWISE=BINARY     its answers for X.Y.Z are compared too (default: build/release/shardwise, if it is built)
# Exit 0 if every part could be recorded and the binary agrees with all; differences from LAST alone are no fault.
set -u
here=$(cd "$(dirname "$0")" && pwd)
root=$here/../..
[ $# -ge 2 ] || { sed -n '2,9s/^# \?//p' "$0"; exit 2; }
version=$1
last=${LAST:-$(python3 "$here/default_version.py")}
python3 "$here/install.py" "$2" "$last" "$version" || exit 2
work=$(cd "$2" && pwd)
records=$work/records/$version
mkdir -p "$records/ours" "$work/records/$last"
report=$records/report.txt
only=" ${*:3} "
wanted() { [ "$only" = "  " ] || [[ "$only" == *" $1 "* ]]; }
failed=()
say() { printf '%s\n' "$*" | tee -a "$report"; }
told() {  # COMMAND...: what it prints goes into the report, too; its exit status is kept
  "$@" 2>&1 | tee -a "$report"
  return "${PIPESTATUS[0]}"
}
: >"$report"
say "vLLM $version beside $last"

for what in registry arguments defaults; do  # declared by both: laid side by side
  wanted $what || continue
  say "" "== $what"
  for of in "$last" "$version"; do
    out=$work/records/$of/$what.jsonl
    [ -s "$out" ] || PYTHONPATH=$work/$of "$work/env/bin/python" "$here/ask_facts.py" $what "$out" 2>"$out.log" || {
      say "  failed for $of: $(tail -1 "$out.log")"; failed+=("$what of $of"); rm -f "$out"; continue 2; }
  done
  told python3 "$here/differences.py" "$work/records/$last/$what.jsonl" "$records/$what.jsonl" || failed+=("differences of $what")
done

if wanted parser; then  # the tables with the new version behind them: what differs is what it changed
  say "" "== parser: rows of data/vllm that end and begin"
  out=$records/parser.json
  mkdir -p "$records/tables" && cp "$root"/data/vllm/{arguments,config_fields}.csv "$records/tables"
  if [ -s "$out" ] || PYTHONPATH=$work/$version "$work/env/bin/python" "$here/ask_parser.py" "$out" 2>"$out.log"; then
    told python3 "$here/parser_table.py" --add "$out" "$records/tables" || failed+=("parser tables of $version")
    for table in arguments config_fields; do diff "$root/data/vllm/$table.csv" "$records/tables/$table.csv" | grep '^[<>]' | tee -a "$report"; done
    grep 'not mirrored' "$out.log" | tee -a "$report"
  else
    say "  failed: $(tail -1 "$out.log")"; failed+=("parser of $version"); rm -f "$out"
  fi
fi

parts=()
for name in "${@:3}"; do case $name in registry | arguments | defaults | parser) ;; *) parts+=("$name") ;; esac; done
if [ $# -eq 2 ] || [ ${#parts[@]} -gt 0 ]; then
  say "" "== answers: recorded cases asked again (recorded: another version's, as a rule $last)"
  PYTHONPATH=$work/$version told "$here/regenerate.sh" "$work/env" "$records" "${parts[@]+"${parts[@]}"}"
  [ $? -le 1 ] || failed+=("answers")  # 1: some differ
  while read -r name; do failed+=("$name"); done < <(sed -n 's/^  failed: see .*\/\(.*\)\.log$/\1/p' "$report")
fi

# What this source tree answers for the new version, beside what vLLM answered.
binary=${SHARDWISE:-$root/build/release/shardwise}
declare -A topic=([legality]=legality [argument_lists]=arguments [sweep]=legality [model_init]=legality [groups]=ranks [nodes]=ranks [experts]=experts [eplb]=eplb
                  [weights]=weights [kv_specs]=kv [kv_plans]=kv [kv_versions]=kv)
if [ -x "$binary" ]; then
  say "" "== shardwise for $version beside vLLM $version"
  for file in "$records"/*.jsonl; do
    name=$(basename "$file" .jsonl)
    wanted "$name" || continue
    of=${topic[$name]:-}
    [[ $name == schedule_* ]] && of=schedule
    [ -n "$of" ] || continue
    answers=$records/ours/$name
    "$binary" verify "$of" "$file" --models "$records/models" --vllm "$version" --predictions "$answers.jsonl" >"$answers.txt" 2>&1
    agree=$?
    [ -s "$answers.jsonl" ] || { failed+=("shardwise: $name"); say "$name: $(cat "$answers.txt")"; continue; }
    case $name in legality | sweep)  # vLLM was stopped before its engines started
      python3 "$here/compare.py" "$answers.jsonl" "$file" >"$answers.txt" 2>&1
      agree=$? ;;
    esac
    [ $agree -eq 0 ] || failed+=("shardwise: $name")
    say "$name: $(cat "$answers.txt")"
  done
fi

say ""
[ ${#failed[@]} -eq 0 ] && { say "nothing failed"; exit 0; }
say "failed:"
for what in "${failed[@]}"; do say "  $what"; done
exit 1
