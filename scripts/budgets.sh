#!/bin/bash
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# Counts the instructions of each operation in tests/budgets/budgets.txt, and fails when one takes more than it may.
# Unlike times, counts are the same on a busy machine. Callgrind counts two runs, with few of an operation and with many:
# what they differ by is the operation's alone, without beginning and end.
set -euo pipefail
cd "$(dirname "$0")/.."

budgets=tests/budgets/budgets.txt few=1000 many=11000
command -v valgrind >/dev/null || { echo "budgets: valgrind isn't found; scripts/deps.sh test installs it" >&2; exit 1; }
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target}
cargo build --release -p shm-budgets

scratch=$(mktemp -d /dev/shm/shm-run-XXXXXX)
trap 'rm -rf "$scratch"' EXIT
export SHM_ROOT="$scratch/root"
mkdir -m 700 "$SHM_ROOT"

count() { # operation, how often: its instructions
  valgrind -q --tool=callgrind --callgrind-out-file="$scratch/counts" \
    "$CARGO_TARGET_DIR/release/shm-budgets" "$1" "$2" >&2 &&
    sed -n 's/^totals: //p' "$scratch/counts"
}

over=0 rows=0
printf '%-10s %12s %8s   (%s, %s)\n' operation instructions budget "$(rustc --version | cut -d' ' -f1,2)" "$(valgrind --version)"
while read -r operation budget; do
  from=$(count "$operation" "$few")
  to=$(count "$operation" "$many")
  each=$(((to - from + (many - few) / 2) / (many - few)))
  verdict=
  if [ "$each" -gt "$budget" ]; then
    verdict="OVER"
    over=$((over + 1))
  fi
  rows=$((rows + 1))
  printf '%-10s %12d %8d   %s\n' "$operation" "$each" "$budget" "$verdict"
done < <(grep -v '^#' "$budgets")
echo "$rows operations, $over over budget"
[ "$rows" -gt 0 ] && [ "$over" = 0 ]
