#!/usr/bin/env bash
# Checks and times viseme on the GPU of this machine, and writes what it found to a folder: report.md (one table), report.json
# (the same), results.jsonl (every row of `viseme verify` and `viseme bench`), and a log of each step. Needs the driver and the
# binary alone; what else it could use and does not find is skipped, with the reason.
#
# usage: gpu-check.sh [FOLDER]        default: gpu-check-DATE
#   VISEME            the binary            [beside this script, ../target/release/viseme, in the path]
#   VISEME_TESTS      the kernels' tests    [beside the binary: ops, or deps/ops-*]
#   VISEME_GOLDEN     folder of golden files [../shared/golden, ./golden]; shapes by scripts/demo-shapes.py come from it
#   VISEME_SHAPES     the full-size networks' shapes, for the step at full size [made by python3 from VISEME_GOLDEN]
#   VISEME_WEIGHTS    published weights, for a job end to end [the small demo models]
#   CHECK_VIDEO, CHECK_AUDIO   inputs of that job [examples/demo]
#   CHECK_LANDMARKS   points of its face    [found in the video]
#   CHECK_ADAPTER     which device          [the best one]
#   CHECK_LATENT      latents of the full-size step, 64 for pictures of 512x512 [64]
#   CHECK_SECONDS     the longest that one step, or one golden file, may take [1800]
#   CHECK_MAX_MIB     golden files larger than that are skipped [no limit]
#   CHECK_FILTER      cases of `viseme bench` with this in their name and shape [all]
#   CHECK_RUNS        runs of each case     [5]
set -uo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
out=${1:-gpu-check-$(date +%Y%m%d-%H%M%S)}
mkdir -p "$out" || exit 1
out=$(cd "$out" && pwd)
rows="$out/rows.tsv"
: > "$rows" && : > "$out/results.jsonl"
limit=${CHECK_SECONDS:-1800}
runs=${CHECK_RUNS:-5}
[ -n "${CHECK_ADAPTER:-}" ] && export VISEME_ADAPTER="$CHECK_ADAPTER"

say() { printf 'gpu-check: %s\n' "$*"; }
note() { printf '%s\t%s\t%s\t%s\n' "$1" "$2" "$3" "$4" >> "$rows"; say "$1: $2${4:+, $4}"; }
skip() { note "$1" skipped 0 "$2"; }

bounded() { if command -v timeout > /dev/null; then timeout "$limit" "$@"; else "$@"; fi; }
# The JSON lines of NAME.log, each with its step, to results.jsonl.
collect() { grep -h '^{' "$out/$1.log" | sed "s/^{/{\"step\":\"$1\",/" >> "$out/results.jsonl"; }
plain() { tr '\t|"\\' '    ' | cut -c1-160; }
# A device that goes on without its matrices says so in a warning.
warned() { grep -h 'WARN' "$out/$1.log" | head -1 | plain; }

# step NAME COMMAND...: its output in NAME.log, its JSON lines in results.jsonl, its outcome in the table.
step() {
  local name=$1 start code
  shift
  start=$(date +%s)
  bounded "$@" > "$out/$name.log" 2>&1
  code=$?
  collect "$name"
  case $code in
    0) note "$name" passed $(($(date +%s) - start)) "$(warned "$name")" ;;
    124) note "$name" 'timed out' $(($(date +%s) - start)) "after $limit s" ;;
    *) note "$name" FAILED $(($(date +%s) - start)) "exit code $code: $(tail -1 "$out/$name.log" | plain)" ;;
  esac
}

first() { local path; for path in "$@"; do [ -e "$path" ] && { printf '%s' "$path"; return; }; done; return 1; }

viseme=${VISEME:-$(first "$root/viseme" "$(dirname "$0")/viseme" "$root/target/release/viseme" "$(command -v viseme || true)")}
[ -x "$viseme" ] || { say "no binary: build it (cargo build --release) or name it in VISEME"; exit 2; }
say "binary $viseme, report in $out"

# 1. The device.
step devices "$viseme" devices
"$viseme" devices --json > "$out/devices.json" 2>> "$out/devices.log"
cat "$out/devices.log"
matrices=no
grep -qE '(16x16x16|8x8x8) F16->F32' "$out/devices.json" && matrices=yes
[ $matrices = yes ] || say "no cooperative matrices of f16 into f32 listed: their variants are skipped"

# 2. The kernels' tests. They emulate matrices by plain loops; the device's own are held to the host by its start-up check, which
#    every step here runs, and by the golden files.
tests=${VISEME_TESTS:-$(first "$(dirname "$viseme")/ops" $(ls -t "$(dirname "$viseme")"/deps/ops-* 2> /dev/null | grep -v '\.d$'))}
if [ -x "$tests" ]; then
  VISEME_REQUIRE_GPU=1 step kernel-tests "$tests" ${CHECK_TESTS:-}
else
  skip kernel-tests 'no test binary beside viseme (cargo test --release --test ops --no-run; VISEME_TESTS names it)'
fi

# 3. Golden files, in each precision and with each variant forced.
golden=${VISEME_GOLDEN:-$(first "$root/../shared/golden" "$root/golden" "$root/tests/fixtures")}
files=()
for file in "$golden"/*.safetensors "$golden"/*.json; do
  case $file in *_names.json | *'*'*) continue ;; esac
  mib=$(($(wc -c < "$file") >> 20))
  if [ -n "${CHECK_MAX_MIB:-}" ] && [ "$mib" -gt "$CHECK_MAX_MIB" ]; then
    say "skipped $(basename "$file"): $mib MiB, more than CHECK_MAX_MIB"
  else
    files+=("$file")
  fi
done
# Each file for itself: what is no case of this version is left out, and one that fails hides none after it.
verify() { # NAME PRECISION [NAME=VALUE..]
  local name=$1 precision=$2 start passed=0 absent=0 failed= warning file code
  shift 2
  if [ ${#files[@]} -eq 0 ]; then
    skip "$name" 'no golden files (VISEME_GOLDEN names their folder)'
    return
  fi
  start=$(date +%s)
  : > "$out/$name.log"
  for file in "${files[@]}"; do
    bounded env "$@" "$viseme" verify --json --precision "$precision" "$file" > "$out/$name.part" 2>&1
    code=$?
    cat "$out/$name.part" >> "$out/$name.log"
    if [ $code -eq 0 ]; then
      passed=$((passed + 1))
    elif grep -q 'expected one of the cases' "$out/$name.part"; then
      absent=$((absent + 1))
    else
      failed="$failed $(basename "$file") (exit code $code)"
    fi
  done
  rm -f "$out/$name.part"
  collect "$name"
  warning=$(warned "$name")
  note "$name" "$([ -z "$failed" ] && echo passed || echo FAILED)" $(($(date +%s) - start)) \
    "$passed files right${failed:+, wrong or not run:$failed}, $absent no case${warning:+; $warning}"
}
verify verify-f32 f32
verify verify-f16 f16
verify verify-f16-portable f16 VISEME_MATRICES=off
for class in direct f23 f43; do
  verify "verify-f16-$class" f16 VISEME_CONV=$class
done
for tile in 64 128; do
  if [ $matrices = yes ]; then
    verify "verify-f16-tile$tile" f16 VISEME_TILE=$tile
  else
    skip "verify-f16-tile$tile" 'no cooperative matrices listed'
  fi
done

# 4. Kernels under the device's limits, with and without matrices.
step bench "$viseme" bench --json --ceiling --plot "$out/roofline.svg" --runs "$runs" --filter "${CHECK_FILTER:-}"
if [ $matrices = yes ]; then
  for tile in 64 128; do
    VISEME_TILE=$tile step "bench-tile$tile" "$viseme" bench --json --runs "$runs" --filter "${CHECK_FILTER:-}"
  done
  VISEME_MATRICES=off step bench-portable "$viseme" bench --json --runs "$runs" --filter "${CHECK_FILTER:-}"
else
  skip bench-portable 'no cooperative matrices listed: the same as bench'
fi

# 5. The step at full size, on weights by formula.
shapes=${VISEME_SHAPES:-}
if [ -z "$shapes" ] && [ -f "$golden/keysync_full_names.json" ] && command -v python3 > /dev/null; then
  python3 "$root/scripts/demo-shapes.py" "$golden" "$out/shapes.json" > "$out/shapes.log" 2>&1 && shapes=$out/shapes.json
fi
if [ -f "$shapes" ]; then
  step networks "$viseme" bench --json --networks --shapes "$shapes" --latent "${CHECK_LATENT:-64}" --runs "$runs" --filter "${CHECK_NETWORKS:-}"
else
  shapes=
  skip networks 'no shapes of the published networks (VISEME_SHAPES, or VISEME_GOLDEN and python3)'
fi

# 6. A job end to end: 512x512 with published weights, 128x128 with the demo's.
video=${CHECK_VIDEO:-$root/examples/demo/face.mp4}
audio=${CHECK_AUDIO:-$root/examples/demo/speech.wav}
weights=(--demo)
[ -n "${VISEME_WEIGHTS:-}" ] && weights=()
if ! command -v ffmpeg > /dev/null; then
  skip job 'no ffmpeg'
elif [ -f "$video" ] && [ -f "$audio" ]; then
  [ ${#weights[@]} -gt 0 ] && say 'job: VISEME_WEIGHTS is not set, so that the demo models run, at 128x128'
  step job "$viseme" lipsync --video "$video" --audio "$audio" --out "$out/job.mp4" --json "${weights[@]}" \
    ${CHECK_LANDMARKS:+--landmarks "$CHECK_LANDMARKS"}
else
  skip job "no inputs: $video, $audio"
fi

# 7. The same operations in PyTorch.
torch=
for python in "${CHECK_PYTHON:-}" python3 python; do
  [ -n "$python" ] && command -v "$python" > /dev/null || continue
  "$python" -c 'import torch, sys; sys.exit(not torch.cuda.is_available())' 2> /dev/null && { torch=$python; break; }
done
if [ -n "$torch" ]; then
  step torch "$torch" "$root/benches/rivals/torch_gpu.py" "$runs" ${shapes:+"$shapes" "${CHECK_LATENT:-64}"}
else
  skip torch 'no Python with torch and CUDA (CHECK_PYTHON names one)'
fi

# One table and one JSON file.
device=$("$viseme" devices 2> /dev/null | head -1)
commit=$(git -C "$root" rev-parse --short HEAD 2> /dev/null || echo unknown)
{
  printf '# viseme on %s\n\nviseme %s, commit %s, %s\n\n| step | outcome | s | |\n|---|---|---|---|\n' \
    "$device" "$("$viseme" --version | cut -d' ' -f2)" "$commit" "$(date -u +%Y-%m-%dT%H:%MZ)"
  while IFS=$'\t' read -r name outcome seconds detail; do
    printf '| %s | %s | %s | %s |\n' "$name" "$outcome" "$seconds" "$detail"
  done < "$rows"
  printf '\n| step | kernel | shape | ms | GFLOP/s |\n|---|---|---|---|---|\n'
  sed -nE 's/^\{"step":"([^"]*)".*"gflops":([0-9.]+)[0-9]*.*"kernel":"([^"]*)","ms":([0-9.]+).*"shape":"([^"]*)".*/| \1 | \3 | \5 | \4 | \2 |/p' "$out/results.jsonl"
} > "$out/report.md"
{
  printf '{"device":"%s","commit":"%s","steps":[' "$(printf '%s' "$device" | tr '"\\' '  ')" "$commit"
  comma=
  while IFS=$'\t' read -r name outcome seconds detail; do
    printf '%s{"step":"%s","outcome":"%s","seconds":%s,"detail":"%s"}' "$comma" "$name" "$outcome" "$seconds" "$detail"
    comma=,
  done < "$rows"
  printf '],"results":['
  paste -sd, "$out/results.jsonl"
  printf '],"devices":'
  cat "$out/devices.json"
  printf '}\n'
} > "$out/report.json"
rm -f "$rows"
cat "$out/report.md"
! grep -qE '\| (FAILED|timed out) \|' "$out/report.md"
