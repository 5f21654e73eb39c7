#!/bin/bash
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# Takes out one guard of the protocol after another (tests/mutations/*.patch) and sees whether a test or a model
# notices. Names as arguments: only those. Ends with 1 when one goes unnoticed.
#
# A patch says in its head what it takes out and what must fail: `loom`, `lib`, `crash`, `processes` or `cuda`.
set -uo pipefail
cd "$(dirname "$0")/.."
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
git ls-files -z | tar --null -T - -cf - | tar -xf - -C "$scratch"
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target/mutations} RUST_BACKTRACE=0

build_and_run() { # what --no-run?
  local only_build=${2:-}
  case $1 in
    loom) RUSTFLAGS="--cfg loom" cargo test -q --release --lib $only_build models ;;
    lib) cargo test -q --lib $only_build ;;
    crash) cargo test -q --features crash-points --test crash $only_build -- a_process_killed_at_any_point ;;
    processes) cargo test -q --test processes --test pubsub --test rpc --no-fail-fast $only_build ;;
    cuda) cargo test -q --test cuda --no-fail-fast $only_build ;;
    *) echo "no such run: $1"; return 2 ;;
  esac
}

patches=()
for name in "${@:-}"; do
  [ -n "$name" ] && patches+=("tests/mutations/$name.patch")
done
[ ${#patches[@]} = 0 ] && patches=(tests/mutations/*.patch)

# What fails without a mutation can't notice one.
for run in $(sed -n 's/^Run: //p' "${patches[@]}" | sort -u); do
  if ! (cd "$scratch" && build_and_run "$run") >"$scratch/.log" 2>&1; then
    echo "the run \`$run\` fails as it is:"
    tail -20 "$scratch/.log"
    exit 1
  fi
done

unnoticed=0
for patch in "${patches[@]}"; do
  name=$(basename "$patch" .patch)
  run=$(sed -n 's/^Run: //p' "$patch")
  result=noticed
  if ! git -C "$scratch" apply --unsafe-paths "$PWD/$patch" 2>"$scratch/.log"; then
    result="DOES NOT APPLY"
  elif ! (cd "$scratch" && build_and_run "$run" --no-run) >"$scratch/.log" 2>&1; then
    result="DOES NOT COMPILE"
  else
    (cd "$scratch" && timeout 400 bash -c "$(declare -f build_and_run); build_and_run $run") >"$scratch/.log" 2>&1
    case $? in
      0) result=UNNOTICED ;;
      124) result="TIMED OUT" ;;
    esac
  fi
  printf '%-28s %-10s %-17s %s\n' "$name" "$run" "$result" "$(sed -n 's/^Takes out: //p' "$patch")"
  [ "$result" = noticed ] || unnoticed=$((unnoticed + 1))
  for file in $(sed -n 's/^+++ b\///p' "$patch"); do
    cp "$file" "$scratch/$file"
  done
done
echo "${#patches[@]} mutations, $unnoticed not noticed"
[ "$unnoticed" = 0 ]
