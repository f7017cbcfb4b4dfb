#!/usr/bin/env bash
# All kernel tests on SwiftShader, and that both drivers ran equally many; then golden cases in every variant it can run.
set -euo pipefail
cd "$(dirname "$0")/.."
icd=$(scripts/swiftshader.sh)
export VISEME_REQUIRE_GPU=1
here=$(mktemp) && there=$(mktemp)
trap 'rm -f "$here" "$there"' EXIT
cargo test --test ops 2>&1 | tee "$here"
VK_DRIVER_FILES="$icd" VK_ICD_FILENAMES="$icd" VISEME_ADAPTER=SwiftShader cargo test --test ops 2>&1 | tee "$there"
a=$(grep -o '[0-9]* passed' "$here" | head -1) b=$(grep -o '[0-9]* passed' "$there" | head -1)
echo "kernel tests: default driver $a, SwiftShader $b"
[ -n "$a" ] && [ "$a" = "$b" ]
VK_DRIVER_FILES="$icd" VK_ICD_FILENAMES="$icd" VISEME_ADAPTER=SwiftShader cargo test --test variants
