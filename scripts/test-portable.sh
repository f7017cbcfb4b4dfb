#!/usr/bin/env bash
# All kernel tests on SwiftShader, and that none was left out; then golden cases in every variant it can run.
set -euo pipefail
cd "$(dirname "$0")/.."
icd=$(scripts/swiftshader.sh)
export VISEME_REQUIRE_GPU=1
there=$(mktemp)
trap 'rm -f "$there"' EXIT
VK_DRIVER_FILES="$icd" VK_ICD_FILENAMES="$icd" VISEME_ADAPTER=SwiftShader cargo test --test ops 2>&1 | tee "$there"
all=$(cargo test --test ops -- --list 2> /dev/null | grep -c ': test$') passed=$(grep -o '[0-9]* passed' "$there" | head -1)
echo "kernel tests: $all in all, SwiftShader $passed"
[ "$all passed" = "$passed" ]
VK_DRIVER_FILES="$icd" VK_ICD_FILENAMES="$icd" VISEME_ADAPTER=SwiftShader cargo test --test variants
