#!/bin/sh
# Remakes tests/fixtures with the Python of $PYTHON (packages in requirements.txt); not part of `make test`.
set -eu
cd "$(dirname "$0")"
python=${PYTHON:-python3}
"$python" formula.py
"$python" check_diffusers.py
if [ -n "${VISEME_GOLDEN:-}" ]; then "$python" check_golden.py; fi
for part in unet sampling vae audio resampling samplers philox masks checkpoints metrics pictures; do "$python" "make_$part.py"; done
