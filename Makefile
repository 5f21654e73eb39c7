# SPDX-License-Identifier: MIT OR Apache-2.0
#
# The habits, one word each. Longer ones live in scripts/.

PREFIX ?= /usr/local
BUILD ?= target/cmake-install
ARGS ?=
FILE ?=
TARGET ?= attach
SECONDS ?= 60
SEED ?=

.PHONY: demo test test-gpu mutations budgets bench bench-quick deps header build install clean fuzz storm

demo: ## what shm does, in half a minute; FILE=… sends that file
	@scripts/deps.sh demo
	@FILE="$(FILE)" scripts/demo.sh

test: ## everything that must hold before a change lands
	@scripts/test.sh

test-gpu: ## the CUDA copier on this machine's GPU; skipped where there is none
	cargo test --release --test gpu -- --nocapture

mutations: ## takes out each guard of the protocol in turn, and sees that a test notices; ARGS=… takes out those
	@scripts/mutations.sh $(ARGS)

budgets: ## counts the instructions of a publish, a receive and a call, and compares them with tests/budgets/budgets.txt
	@scripts/budgets.sh

fuzz: ## searches for files that harm a process; TARGET=attach, in_use, live, audit or rpc, SECONDS=60
	@scripts/fuzz.sh "$(TARGET)" "$(SECONDS)" $(ARGS)

storm: ## kills and stops publishers, subscribers, clients and servers; SECONDS=60, SEED=… for one that was
	SHM_STORM_LIMIT_MS=100 SHM_STORM_SECONDS=$(SECONDS) SHM_TEST_FACTOR=$$(($(SECONDS) / 60 + 2)) SHM_TEST_SEED=$(SEED) \
	  cargo test --test storm storm -- --nocapture

bench: ## measures; ARGS=… goes to the benchmark
	@scripts/deps.sh bench
	cargo run --profile measure -p shm-bench -- $(ARGS)

bench-quick: ## measures in under a minute
	@scripts/deps.sh bench
	cargo run --profile measure -p shm-bench -- --quick $(ARGS)

deps: ## installs what building and testing needs and this machine lacks
	@scripts/deps.sh test

header: ## writes include/shm/shm.h anew from src/ffi/
	SHM_UPDATE_HEADER=1 cargo test --test header

build: ## what is installed
	cmake -S . -B $(BUILD) -DCMAKE_BUILD_TYPE=Release -DSHM_CARGO_TARGET_DIR="$(CURDIR)/target" \
	  -DSHM_BUILD_EXAMPLES=OFF -DSHM_BUILD_TESTS=OFF
	cmake --build $(BUILD)

install: build ## into PREFIX, which you may write to
	cmake --install $(BUILD) --prefix "$(PREFIX)"

clean: ## removes everything that was built
	rm -rf target build
