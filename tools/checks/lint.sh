#!/usr/bin/env bash
# Formatting (clang-format), the layer table, headers that compile alone, Python syntax.
set -euo pipefail
cd "$(dirname "$0")/../.."
tools/checks/packages.sh tools/checks/lint-packages.txt
python3 tools/checks/layers.py src
find src tests tools bench -name '*.h' -o -name '*.cc' | grep -v compile_fail | xargs clang-format-14 --dry-run -Werror
# Numbers are read by functions that say whether they could: parse_number, python_int, from_chars.
if grep -rnE '\b(strto(l|ll|ul|ull|d|f)|sto(i|l|ll|ul|ull|d|f)|ato(i|l|ll|f)|sscanf) ?\(' src tools --include='*.h' --include='*.cc' | grep -v '_test\.cc:'; then
  echo "unchecked reading of numbers" >&2; exit 1
fi
python3 - <<'PY'
import ast, pathlib
for path in [*pathlib.Path("tools").rglob("*.py"), *pathlib.Path("tests").rglob("*.py")]:
    ast.parse(path.read_text(), str(path))
PY
# Each header compiles alone. clang 14 as the second compiler of every line is `make sanitize`, warnings as errors.
flags=(-std=c++20 -fsyntax-only -Wall -Wextra -Werror -Isrc)
printf '%s\n' src/*/*.h | xargs -P"$(nproc)" -n1 clang++-14 "${flags[@]}" -x c++-header -Wno-pragma-once-outside-header
echo "lint: clean"
