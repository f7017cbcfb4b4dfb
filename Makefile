# make demo: set up, build, and lip-sync the demo video; make test: set up and run all tests.
.PHONY: demo test test-splits test-portable lint setup

DEMO_OUT ?= out/demo.mp4
# Mesa looks for a Wayland display, and complains where there is no desktop to have one.
export WAYLAND_DISPLAY ?= /none

setup:
	@scripts/setup.sh

demo: setup
	cargo build --release
	@mkdir -p $(dir $(DEMO_OUT))
	./target/release/viseme lipsync --demo --video examples/demo/face.mp4 --audio examples/demo/speech.wav \
	  --out $(DEMO_OUT)
	@echo "the video lies at $(DEMO_OUT) (random weights: the mouth region is noise-like by design of this demo)"

test: setup
	VISEME_REQUIRE_GPU=1 cargo test

test-splits: setup
	scripts/test-splits.sh

test-portable: setup
	scripts/test-portable.sh

lint:
	cargo fmt --check
	cargo clippy --all-targets -- -D warnings
	cargo check --no-default-features --lib
