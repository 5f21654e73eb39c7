#!/bin/sh
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# Installs what building, testing or measuring shm needs beyond Rust and a C++ compiler, on Debian and its kin.
# Does nothing where all of it is there. Usage: scripts/deps.sh [demo|bench|test]
set -eu

purpose=${1:-test}
missing=

have() { command -v "$1" >/dev/null 2>&1; }
want() { missing="$missing $1"; }

have_header() { # not before there is a compiler to ask
  have c++ && printf '#if !__has_include(<%s>)\n#error missing\n#endif\n' "$1" | c++ -x c++ -fsyntax-only - 2>/dev/null
}

have cargo || { echo "deps: cargo isn't found; install Rust 1.89 or later (https://rustup.rs) first" >&2; exit 1; }
have cc || want gcc
have c++ || want g++
have_header msgpack.hpp || want libmsgpack-cxx-dev
if [ "$purpose" != bench ]; then
  have cmake || want cmake
  have make || want make
fi
if [ "$purpose" = test ]; then
  have_header msgpack.h || want libmsgpack-dev # for an example in C
  have pkg-config || want pkg-config
  have readelf || want binutils
  have strace || want strace
  have valgrind || want valgrind
fi

if [ -n "$missing" ]; then
  as_root=
  [ "$(id -u)" = 0 ] || as_root=sudo
  install="apt-get install -y --no-install-recommends$missing"
  if have apt-get && { [ -z "$as_root" ] || sudo -n true 2>/dev/null; }; then
    echo "deps: installing$missing"
    $as_root apt-get update -qq
    # Before Debian 12 and Ubuntu 23.04 one package has msgpack for C and for C++.
    case "$install" in
      *libmsgpack-cxx-dev*)
        apt-cache show libmsgpack-cxx-dev >/dev/null 2>&1 ||
          install=$(echo "$install" | sed 's/libmsgpack-cxx-dev/libmsgpack-dev/') ;;
    esac
    # shellcheck disable=SC2086 # the list of packages is meant to be split
    $as_root env DEBIAN_FRONTEND=noninteractive $install -qq >/dev/null
  else
    echo "deps: missing$missing; run: ${as_root:+$as_root }$install" >&2
    exit 1
  fi
fi

if [ "$purpose" = test ] && ! have cargo-nextest && ! [ -x "${CARGO_HOME:-$HOME/.cargo}/bin/cargo-nextest" ]; then
  echo "deps: building cargo-nextest, which takes a few minutes"
  cargo install --locked cargo-nextest
fi
