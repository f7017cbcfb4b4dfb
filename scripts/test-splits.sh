#!/usr/bin/env bash
# Kernel tests and golden cases with small bindings, so that every operation has to split its operands.
set -euo pipefail
cd "$(dirname "$0")/.."
export VISEME_REQUIRE_GPU=1
# One kernel at a time the smallest bindings ask for most; whole networks meet pieces of other lengths at 1 MiB too.
VISEME_MAX_BINDING=64K cargo test --test ops
for size in 1M 64K; do
  echo "bindings of at most $size"
  VISEME_MAX_BINDING=$size cargo test --test golden -- --skip full_size --skip hubert --skip wavlm
done
