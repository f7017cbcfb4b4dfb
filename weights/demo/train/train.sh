#!/usr/bin/env bash
# All stages of the demo models, or those named: train.sh WORK OUT [STAGE ..]. LIBRIVOX=FOLDER adds read sentences with their alignment.
set -euo pipefail
[ $# -ge 2 ] || { sed -n 2p "$0"; exit 2; }
here=$(cd "$(dirname "$0")" && pwd) work=$1 out=$2
shift 2
stages=("$@")
[ $# -gt 0 ] || stages=(clips vae hubert wavlm keyframe interpolation wav2vec2 beats keyface-keyframe keyface-interpolation)
export PYTHONPATH="$here:$here/../data"
# Freed memory stays, in huge pages: asking the kernel for it again costs more than the arithmetic.
export GLIBC_TUNABLES=glibc.malloc.hugetlb=1:glibc.malloc.mmap_threshold=33554432:glibc.malloc.trim_threshold=4000000000
export OMP_WAIT_POLICY=passive
read_sentences=(${LIBRIVOX:+--librivox "$LIBRIVOX"})
mkdir -p "$work"
for stage in "${stages[@]}"; do
  case $stage in
    clips) python3 "$here/../data/clips.py" "$work/clips" "${read_sentences[@]}" ;;
    vae) python3 "$here/train_vae.py" "$work/clips" "$work" "$out" ;;
    hubert | wavlm | wav2vec2 | beats) python3 "$here/train_encoders.py" "$stage" "$work" "$out" "${read_sentences[@]}" ;;
    *) python3 "$here/train_unet.py" "$stage" "$work/clips" "$work" "$out" ;;
  esac
done
