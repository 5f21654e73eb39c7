#!/bin/sh
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# Makes target/python, a virtual environment with what tests/python needs. Where that can't be it says why in a line, and fails.
set -eu
cd "$(dirname "$0")/.."

wanted=tests/python/requirements.txt
cmp -s "$wanted" target/python/made_from && exit

log=target/python.log
mkdir -p target
command -v python3 >/dev/null || { echo "no python3"; exit 1; }
rm -rf target/python
python3 -m venv target/python >"$log" 2>&1 || { echo "no virtual environment can be made (Debian: python3-venv): see $log"; exit 1; }
target/python/bin/pip install --only-binary :all: -r "$wanted" >>"$log" 2>&1 ||
  { echo "pip doesn't get $(grep -v '^#' "$wanted" | tr '\n' ' ')for this Python: see $log"; exit 1; }
cp "$wanted" target/python/made_from
