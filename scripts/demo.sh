#!/bin/sh
# demo.sh PROMPT OUT: samples four radiographs into OUT and says where they are and how long install and run took.
set -eu
prompt=$1 out=$2
started=$(date +%s)
.venv/bin/gen sample --prompt "$prompt" -n 4 --out "$out"
printf '\nimages and contact sheet: %s\ninstall %s s (once), run %s s\nfor research use only, not for clinical use\n' \
    "$out" "$(cat .venv/.ready)" "$(($(date +%s) - started))"
