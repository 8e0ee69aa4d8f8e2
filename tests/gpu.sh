#!/bin/sh
# Everything that needs a GPU in one go, as one report: what the tests of this repository cannot show without one.
set -u

usage() {
  cat <<'END'
Usage: tests/gpu.sh [REPORT]
Builds what is missing, runs the tests on the CUDA device, compares it with the CPU, trains twice, measures, and writes a
Markdown report (gpu-report.md where no REPORT is named).
APOTNET_DATA   folder with the data for the golden tests (README, "Data for the tests")
APOTNET_PEERS  folder with peer_torch.py: PyTorch is measured beside it
APOTNET_BIN    folder with apotnet and gpu_tests, to run these and build nothing
The output of the tests goes into a folder beside the report, report-logs for report.md.
Exit codes: 0 done, 1 a check failed, 64 usage, 69 no device.
Example: tests/gpu.sh report.md
END
}
fail() { code=$1; shift; printf 'gpu.sh: %s\n' "$*" >&2; exit "$code"; }

case "${1:-}" in
  -h | --help) usage; exit 0 ;;
  -*) fail 64 "unknown option $1; see tests/gpu.sh --help" ;;
esac
[ $# -le 1 ] || fail 64 "one report at a time; see tests/gpu.sh --help"
report=${1:-gpu-report.md}
case $report in /*) ;; *) report=$PWD/$report ;; esac
cd "$(dirname "$0")/.." || exit 70

# The value of a key of one JSON line.
value() { sed -n 's/.*"'"$1"'": *"\{0,1\}\([^",}]*\).*/\1/p' | head -n 1; }

if [ -n "${APOTNET_BIN:-}" ]; then
  apotnet=$APOTNET_BIN/apotnet tests=$APOTNET_BIN/gpu_tests
else
  apotnet=./apotnet tests=${APOTNET_BUILD:-build}/tests/gpu_tests
fi
found=$("$apotnet" doctor --json) || fail 70 "$apotnet doctor failed"
device=$(printf '%s' "$found" | value cuda)
case $device in *'no CUDA device'* | *'not built'* | *'without CUDA'* | '') fail 69 "${device:-no CUDA device}" ;; esac
[ -n "${APOTNET_BIN:-}" ] || ./apotnet test --list >/dev/null || fail 70 "the tests could not be built"
work=$(mktemp -d) || exit 74
trap 'rm -rf "$work"' EXIT
failed=0
: >"$report" || fail 74 "cannot write $report"
say() { printf '%s\n' "$@" >>"$report"; }
# check STATUS WHAT [DETAIL]: a line of the table; a status other than 0 fails the whole.
check() {
  word=passed
  [ "$1" = 0 ] || { word='**failed**' failed=1; }
  say "| $2 | $word${3:+: $3} |"
}

say "# apotnet on $device" "" "$(git rev-parse --short=12 HEAD 2>/dev/null), $(date -u +%Y-%m-%d)" "" '```'
{ "$apotnet" version; "$apotnet" doctor; nvidia-smi --query-gpu=name,driver_version,memory.total,power.limit --format=csv; } >>"$report" 2>&1
say '```' "" "## Checks" "" "| check | result |" "|---|---|"

# Each test case in a process of its own: an illegal access ends only that, and one that hangs is ended.
logs=${report%.md}-logs
mkdir -p "$logs" && rm -f "$logs"/* || fail 74 "cannot write $logs"
export tests logs
"$tests" --list-test-cases | grep -v -e '^\[doctest\]' -e '^=' >"$logs/cases.txt"
jobs=$(($(nproc) / 2))
[ "$jobs" -le 8 ] || jobs=8
nl -ba -w1 -s: "$logs/cases.txt" | xargs -P "$((jobs > 0 ? jobs : 1))" -d '\n' -n 1 sh -c '
  number=${0%%:*} name=${0#*:}
  filter=$(printf %s "$name" | tr , "?")
  timeout 180 "$tests" --test-case="$filter" >"$logs/$number.txt" 2>&1 && grep -q "test cases: *[1-9]" "$logs/$number.txt" &&
    exit 0
  echo "$number:$name" >>"$logs/failed.txt"
  CUDA_LAUNCH_BLOCKING=1 timeout 180 "$tests" --test-case="$filter" >"$logs/$number.blocking.txt" 2>&1'
cases=$(wc -l <"$logs/cases.txt") bad=$(cat "$logs/failed.txt" 2>/dev/null | wc -l)
[ "$cases" -gt 0 ] && [ "$bad" = 0 ]
status=$? skipped=$(grep -l '^skipped: ' "$logs"/*.txt | wc -l)
check $status "contract, golden tables, golden training step, fused against kernel by kernel, recorded against eager" \
  "$((cases - bad)) of $cases test cases, $skipped of them skipped for want of data"

cat >"$work/run.json" <<'END'
{"model": {"name": "resnet20"},
 "data": {"name": "shapes10", "batch": 128, "augment": ["pad_crop", "flip"], "validation": 1000, "train_count": 51000, "test_count": 2000},
 "stages": [{"name": "4bit", "bits": 4, "epochs": 3, "lr": 0.05}], "seed": 7}
END
for name in one two; do
  timeout 300 "$apotnet" train "$work/run.json" --device cuda --quiet --out "$work/$name" >"$work/$name.txt" 2>&1
  check $? "training, run $name" "$(grep -h error: "$work/$name.txt" | tail -n 1)"
done
cmp -s "$work/one/checkpoints/last.safetensors" "$work/two/checkpoints/last.safetensors"
check $? "two trainings with one seed, last checkpoints byte for byte the same"
for how in "cpu float" "cuda float" "cpu integer" "cuda integer"; do
  set -- $how
  timeout 300 "$apotnet" eval --checkpoint "$work/one/checkpoints/best.safetensors" --data shapes10 --device "$1" --engine "$2" --json \
    --logits "$work/$1.$2" >"$work/eval.json" 2>"$work/eval.txt"
  status=$?
  value top1 <"$work/eval.json" >"$work/$1.$2.top1"
  found="top-1 $(value top1 <"$work/eval.json") %, loss $(value loss <"$work/eval.json")"
  [ $status = 0 ] || found=$(tail -n 1 "$work/eval.txt")
  check $status "evaluation on $1, $2 engine" "$found"
done
for where in cpu cuda; do
  cmp -s "$work/$where.float" "$work/$where.integer"
  check $? "logits of both engines on $where, all bits the same"
done
# The images at the two ends are rounded differently, so a few may change sides.
awk 'NR == 1 { cpu = $1 } NR == 2 { exit !($1 != "" && cpu != "" && ($1 - cpu) ^ 2 <= 0.1 ^ 2 + 1e-9) } END { if (NR < 2) exit 1 }' \
  "$work/cpu.float.top1" "$work/cuda.float.top1"
check $? "top-1 on cuda within 0.1 points of that on cpu"

say "" "## Speed" "" "| what | images/s |" "|---|---|"
say "| training ResNet-20, 4 bit, batch 128, last of three epochs, validation and saving not counted | $(grep '"images_per_second"' "$work/one/metrics.jsonl" | tail -n 1 | value images_per_second) |"
say "| the same, epoch by epoch | $(grep -o '"images_per_second":[0-9.]*' "$work/one/metrics.jsonl" | cut -d: -f2 | tr '\n' ' ') |"
APOTNET_CHAINS=off timeout 300 "$apotnet" train "$work/run.json" --device cuda --quiet --out "$work/off" >"$work/off.txt" 2>&1
say "| the same without chains, epoch by epoch | $(grep -o '"images_per_second":[0-9.]*' "$work/off/metrics.jsonl" | cut -d: -f2 | tr '\n' ' ') |"
for engine in float integer; do
  for batch in 1 128 1024; do
    rate=$(timeout 120 "$apotnet" bench infer --device cuda --bits 4 --batch $batch --engine $engine --json 2>/dev/null | value images_per_second)
    say "| inference, $engine engine, batch $batch | $rate |"
  done
done
if [ -n "${APOTNET_PEERS:-}" ]; then
  for style in authors good float; do
    compile=--compile
    [ $style = authors ] && compile=
    rate=$(python3 "$APOTNET_PEERS/peer_torch.py" --device cuda --style $style $compile --mode train 2>/dev/null | value images_per_second)
    say "| PyTorch, training, $style $compile | ${rate:-could not be run} |"
  done
fi

say "" "## The recorded step" "" '```'
timeout 120 "$tests" --test-case='*launches and bytes*,*table of nodes*' >>"$report" 2>&1
grep -h 'nodes of a' "$logs"/*.txt >>"$report"
say '```' "" "Memory of the device after training, and occupancy of the kernels: \`nvidia-smi\` below, tests/vendor/kernel_resources.md." "" '```'
nvidia-smi --query-gpu=memory.used,memory.total --format=csv >>"$report" 2>&1
say '```'
if [ "$bad" != 0 ]; then
  say "" "## Test cases that failed" "" '```'
  while IFS=: read -r number name; do
    say "" "$number: $name"
    tail -n 30 "$logs/$number.txt" >>"$report"
    say "... and with CUDA_LAUNCH_BLOCKING=1"
    tail -n 10 "$logs/$number.blocking.txt" >>"$report"
  done <"$logs/failed.txt"
  say '```'
fi
printf 'gpu.sh: %s %s\n' "$report" "$([ $failed = 0 ] && echo 'written' || echo 'written; a check failed')" >&2
exit $failed
