# SPDX-License-Identifier: BSD-3-Clause
# A thin front door over the presets of CMakePresets.json; `make help` lists what there is.
.PHONY: help build demo check vm-check tidy bench fuzz install clean
.DEFAULT_GOAL := build
PREFIX ?= /usr/local
FUZZ_SECONDS ?= 60

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

build: ## programs in build/bin, libraries in build/lib
	@scripts/setup build
	@scripts/build dev

demo: ## a disk image written and read over NBD, every byte through a VMBus channel
	@scripts/setup demo
	@scripts/build dev
	@scripts/demo

check: ## every test that this machine can run
	@scripts/setup check vm
	@scripts/check

vm-check: ## only those on real kernels, in guests that the tests boot
	@scripts/setup vm
	@scripts/check --label vm dev

tidy: build ## static analysis alone
	@/usr/bin/python3 -B tests/meta/tidy.py build

bench: ## the measurements of docs/performance.md
	@scripts/setup bench
	@scripts/build dev
	@bench/run

fuzz: ## every fuzz target for FUZZ_SECONDS=60
	@scripts/setup fuzz
	@scripts/build fuzz
	@scripts/fuzz $(FUZZ_SECONDS)

install: ## PREFIX=/usr/local, DESTDIR
	@scripts/setup build
	@scripts/build release
	@DESTDIR="$(DESTDIR)" cmake --install build/release --prefix "$(PREFIX)"

clean: ## forget build/
	@rm -rf build
