#!/bin/bash
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# Searches for files that harm a process (fuzz/), for SECONDS, from the kept corpus and what earlier searches found
# (target/fuzz-corpus). Usage: scripts/fuzz.sh TARGET SECONDS [libFuzzer's options]
# `scripts/fuzz.sh minimise TARGET` keeps what adds to the coverage in fuzz/corpus.
set -euo pipefail
cd "$(dirname "$0")/.."

export RUSTUP_AUTO_INSTALL=0
if ! cargo +nightly --version >/dev/null 2>&1; then
  echo "SKIPPED fuzzing: no nightly toolchain (rustup toolchain install nightly)"
  exit 0
fi
if ! cargo fuzz --version >/dev/null 2>&1; then
  echo "SKIPPED fuzzing: no cargo-fuzz (cargo install --locked cargo-fuzz)"
  exit 0
fi

fuzz() { # command, target, what follows
  local command=$1 target=$2
  shift 2
  cargo +nightly fuzz "$command" --target-dir target/fuzz "$target" "$@"
}

# What a run that crashes can't take away itself.
SHM_FUZZ_ROOT=$(mktemp -d /dev/shm/shm-fuzz-XXXXXX)
export SHM_FUZZ_ROOT
trap 'rm -rf "$SHM_FUZZ_ROOT"' EXIT

if [ "${1-}" = minimise ]; then
  target=${2:?which target}
  found=target/fuzz-corpus/$target kept=fuzz/corpus/$target
  mkdir -p "$found" "$kept"
  cp -n "$kept"/* "$found"/ 2>/dev/null || true
  rm -rf "$kept.new"
  mkdir "$kept.new"
  # Each part of the code once, not each number of rounds: few enough for every run of the tests.
  fuzz run "$target" "$kept.new" "$found" -- -set_cover_merge=1 -use_counters=0 -timeout=20
  # What is kept goes only when there is something in its place.
  rmdir "$kept.new" 2>/dev/null && exit 1
  rm -rf "$kept"
  mv "$kept.new" "$kept"
  exit 0
fi

target=${1:?which target: attach, in_use, live, audit or rpc} seconds=${2:?how many seconds}
shift 2
found=target/fuzz-corpus/$target kept=fuzz/corpus/$target
mkdir -p "$found" "$kept"
# No call may take 10 s, and nothing that a file says may make a process take much memory.
fuzz run "$target" "$found" "$kept" -- -timeout=10 -rss_limit_mb=2048 -malloc_limit_mb=256 \
  -max_len=600 -len_control=0 -print_final_stats=1 -max_total_time="$seconds" "$@"
