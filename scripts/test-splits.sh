#!/usr/bin/env bash
# Kernel tests and golden cases with small bindings, so that every operation has to split its operands.
set -euo pipefail
cd "$(dirname "$0")/.."
export VISEME_REQUIRE_GPU=1
for size in 1M 64K; do
  echo "bindings of at most $size"
  VISEME_MAX_BINDING=$size cargo test --test ops
  VISEME_MAX_BINDING=$size cargo test --test golden -- --skip full_size --skip hubert --skip wavlm
done
