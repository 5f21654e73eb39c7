#!/bin/bash
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# Everything that must hold before a change lands, step by step; stops at the first that fails. Steps that need a
# toolchain which this machine lacks are skipped, and say so; and so do tests that need what it doesn't permit.
set -euo pipefail
cd "$(dirname "$0")/.."

passed=0 skipped=0 current=
# Wherever the user's cargo builds otherwise: all steps share it.
export CARGO_TARGET_DIR="$PWD/target"
build=target/cmake-test
scratch=$(mktemp -d /dev/shm/shm-run-XXXXXX)
# Whatever a test or an example makes without a root of its own goes here, and not among the user's topics.
export SHM_ROOT="$scratch/root"
mkdir -m 700 "$SHM_ROOT"
# Where tests note that they were skipped: a step that passes doesn't show it.
export SHM_TEST_SKIPS="$scratch/skips"

# What tests, examples and benchmarks name theirs; other runs' scratch folders and other programs' files are not ours.
shared_memory() {
  { find /dev/shm -mindepth 1 -maxdepth 1 \( -name 'shm-*' -o -name '.tmp*' -o -name 'iox2*' \) ! -name 'shm-run-??????'
    find "$SHM_ROOT" -mindepth 1; } | sort
}
shared_memory >"$scratch/before"

summary() { # how many failed
  if [ -s "$SHM_TEST_SKIPS" ]; then
    sort -u -o "$SHM_TEST_SKIPS" "$SHM_TEST_SKIPS"
    printf '\nTests that were skipped:\n'
    cat "$SHM_TEST_SKIPS"
    skipped=$((skipped + $(wc -l <"$SHM_TEST_SKIPS")))
  fi
  printf '\n%d passed, %d failed, %d skipped\n' "$passed" "$1" "$skipped"
}

finish() {
  local status=$?
  if [ "$status" != 0 ]; then
    printf '\nFAILED: %s\n' "$current"
    summary 1
  fi
  rm -rf "$scratch"
}
trap finish EXIT

step() { # title, command…
  current=$1
  shift
  printf '\n==> %s\n' "$current"
  local from=$SECONDS
  "$@"
  printf '<== %s: %d s\n' "$current" "$((SECONDS - from))"
  passed=$((passed + 1))
}

skip() { # title, reason
  printf '\nSKIPPED %s: %s\n' "$1" "$2"
  skipped=$((skipped + 1))
}

build_c_and_cxx() {
  local warnings="-Wall -Wextra -Wpedantic -Werror"
  cmake -S . -B "$build" -DCMAKE_BUILD_TYPE=Release -DSHM_CARGO_TARGET_DIR="$PWD/target" -DSHM_WITH_CXX=ON \
    -DSHM_BUILD_EXAMPLES=ON -DSHM_BUILD_TESTS=ON -DCMAKE_C_FLAGS="$warnings" -DCMAKE_CXX_FLAGS="$warnings"
  cmake --build "$build" --parallel "$(nproc)"
}

test_c_and_cxx() {
  (cd "$build" && ctest --output-on-failure --no-tests=error --timeout 120)
}

loom() {
  RUSTFLAGS="--cfg loom" cargo test --release --lib --target-dir target/loom models
}

miri() {
  MIRIFLAGS="-Zmiri-disable-isolation" cargo +nightly miri test --lib --target-dir target/miri
}

# One test abandons a topic, as a kill would. One counts mappings, of which the sanitizer makes some. One asks for more memory than there is.
address_sanitizer() {
  echo 'leak:shm::topic::tests::deserted' >"$scratch/lsan"
  ASAN_OPTIONS=allocator_may_return_null=1 LSAN_OPTIONS="suppressions=$scratch/lsan" RUSTFLAGS="-Zsanitizer=address" \
    cargo +nightly test --lib --test hostile --test pubsub --test copier --test dlpack --test fuzz \
    --target "$(rustc -vV | sed -n 's/^host: //p')" --target-dir target/asan \
    -- --skip leaks_no_mapping
}

# The standard library isn't built for it: what its reference counts and channels order by fences looks like races.
thread_sanitizer() {
  printf 'race:<alloc::sync::Arc<\nrace:std::sync::mpmc\n' >"$scratch/tsan"
  TSAN_OPTIONS="suppressions=$scratch/tsan" \
    RUSTFLAGS="-Zsanitizer=thread -Cunsafe-allow-abi-mismatch=sanitizer --cfg shm_tsan" \
    cargo +nightly test --lib --target "$(rustc -vV | sed -n 's/^host: //p')" --target-dir target/tsan stress
}

# `make mutations` runs them; here only so that they don't fall behind the code.
mutations_apply() {
  local patch
  for patch in tests/mutations/*.patch; do
    git apply --check "$patch" || return 1
  done
}

nothing_left() {
  local new
  new=$(shared_memory | comm -13 "$scratch/before" -)
  [ -z "$new" ] && return
  printf 'left in /dev/shm by the tests, or by something else that ran meanwhile:\n%s\n' "$new"
  return 1
}

step "dependencies" scripts/deps.sh test
if cargo fmt --version >/dev/null 2>&1; then
  step "rustfmt" cargo fmt --all --check
else
  skip "rustfmt" "not installed: rustup component add rustfmt"
fi
if cargo clippy --version >/dev/null 2>&1; then
  step "clippy" cargo clippy --workspace --all-targets --features crash-points -- -D warnings
else
  skip "clippy" "not installed: rustup component add clippy"
fi
step "C and C++, built" build_c_and_cxx
# The examples in C and C++ are run by a test in Rust, which takes them from here.
export SHM_EXAMPLES_DIR="$PWD/$build"
aarch64=aarch64-unknown-linux-gnu
if [ -d "$(rustc --print target-libdir --target "$aarch64")" ]; then
  step "code for aarch64" cargo check -p shm --target "$aarch64"
else
  skip "code for aarch64" "no standard library for it: rustup target add $aarch64"
fi
step "Rust tests" cargo nextest run --workspace --exclude shm-package-tests --no-fail-fast
step "crash points" cargo nextest run --features crash-points --test crash --no-fail-fast
step "mutations apply" mutations_apply
step "documentation" env RUSTDOCFLAGS="-D warnings" cargo doc --no-deps -p shm
step "documentation's examples" cargo test --workspace --doc
step "C and C++ tests" test_c_and_cxx
if why=$(scripts/python.sh); then
  step "Python" env SHM_LIBRARY="$PWD/$build/lib/libshm.so" target/python/bin/python tests/python/tensors_test.py
else
  skip "Python" "$why"
fi
step "demo" env -u SHM_ROOT SHM_BUILD_DIR="$build" scripts/demo.sh
if [ "$(uname -m)" != x86_64 ]; then
  skip "instruction budgets" "they are those of x86-64"
elif command -v valgrind >/dev/null; then
  step "instruction budgets" scripts/budgets.sh
else
  skip "instruction budgets" "no valgrind"
fi
step "packaging" cargo nextest run -p shm-package-tests --no-fail-fast
step "loom models" loom
export RUSTUP_AUTO_INSTALL=0
if cargo +nightly miri --version >/dev/null 2>&1; then
  step "miri" miri
else
  skip "miri" "no nightly toolchain with miri"
fi
if cargo +nightly --version >/dev/null 2>&1; then
  step "AddressSanitizer" address_sanitizer
  step "ThreadSanitizer" thread_sanitizer
else
  skip "AddressSanitizer" "no nightly toolchain"
  skip "ThreadSanitizer" "no nightly toolchain"
fi
step "nothing left in /dev/shm" nothing_left

summary 0
