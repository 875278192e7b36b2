#!/usr/bin/env bash
# Installs the packages that FILE names and that are missing; without root it names them and stops.
set -euo pipefail
command -v dpkg-query >/dev/null || exit 0
mapfile -t wanted < <(grep -vE '^\s*(#|$)' "$1")
missing=()
for package in "${wanted[@]}"; do
  dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
done
[ ${#missing[@]} -eq 0 ] && exit 0
if [ "$(id -u)" != 0 ]; then
  if command -v sudo >/dev/null && sudo -n true 2>/dev/null; then sudo=sudo; else
    echo "These packages are missing; install them as root, then run make again:" >&2
    echo "  apt-get install ${missing[*]}" >&2
    exit 1
  fi
fi
export DEBIAN_FRONTEND=noninteractive
${sudo:-} apt-get update -qq
${sudo:-} apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
