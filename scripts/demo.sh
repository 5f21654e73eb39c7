#!/bin/bash
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# What shm does, with real processes: a file from Rust to C++, C and Rust at once; messages from C++ to Rust and back;
# and how long a message takes. FILE=... sends that file.
set -euo pipefail
cd "$(dirname "$0")/.."

# Wherever the user's cargo builds otherwise: both builds share it.
export CARGO_TARGET_DIR="$PWD/target"
build=${SHM_BUILD_DIR:-target/cmake-demo}
cargo build --release --lib --example file_publisher --example file_subscriber --example message_echo --example latency
cmake -S . -B "$build" -DCMAKE_BUILD_TYPE=Release -DSHM_CARGO_TARGET_DIR="$PWD/target" -DSHM_WITH_CXX=ON \
  -DSHM_BUILD_EXAMPLES=ON >/dev/null
cmake --build "$build" --parallel "$(nproc)" --target shm_demo >/dev/null

rust=target/release/examples c=$build/examples-c cpp=$build/examples-cpp
file=${FILE:-target/release/libshm.a}
[ -r "$file" ] || { echo "demo: cannot read $file" >&2; exit 1; }
scratch=$(mktemp -d)
SHM_ROOT=$(mktemp -d /dev/shm/shm-demo-XXXXXX)
export SHM_ROOT
finish() {
  # Only what this script started.
  jobs -p | xargs -r kill 2>/dev/null || true
  wait
  rm -rf "$scratch" "$SHM_ROOT"
}
trap finish EXIT

wait_for_all() { local pid; for pid in "$@"; do wait "$pid"; done; }

echo "==> $file, from Rust to C++, C and Rust at once"
"$cpp/file_subscriber" 1 /file "$scratch/cpp" & one=$!
"$c/file_subscriber" 2 /file "$scratch/c" & two=$!
"$rust/file_subscriber" 3 /file "$scratch/rust" & three=$!
"$rust/file_publisher" "$file" /file 3
wait_for_all $one $two $three
sum=$(sha256sum <"$file")
for copy in cpp c rust; do
  [ "$(sha256sum <"$scratch/$copy")" = "$sum" ] || { echo "demo: the copy of $copy differs" >&2; exit 1; }
done
echo "all three are the same file: sha256 ${sum%% *}"

echo "==> messages (nested, with vectors and strings) from C++ to Rust and back"
"$rust/message_echo" /echo 10000 & one=$!
"$cpp/message_roundtrip" /echo 10000
wait_for_all $one

echo "==> latency"
"$rust/latency"

left=$(find "$SHM_ROOT" -mindepth 1)
[ -z "$left" ] || { echo "demo: left in shared memory: $left" >&2; exit 1; }
echo "nothing is left in shared memory"
