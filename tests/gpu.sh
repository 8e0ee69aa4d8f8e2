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

found=$(./apotnet doctor --json) || fail 70 "./apotnet doctor failed"
device=$(printf '%s' "$found" | value cuda)
case $device in *'no CUDA device'* | *'not built'* | *'without CUDA'* | '') fail 69 "${device:-no CUDA device}" ;; esac
./apotnet test --list >/dev/null || fail 70 "the tests could not be built"
build=${APOTNET_BUILD:-build}
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
{ ./apotnet version; ./apotnet doctor; nvidia-smi --query-gpu=name,driver_version,memory.total,power.limit --format=csv; } >>"$report" 2>&1
say '```' "" "## Checks" "" "| check | result |" "|---|---|"

"$build/tests/gpu_tests" >"$work/tests.txt" 2>&1
check $? "contract, golden tables, golden training step, fused against kernel by kernel, recorded against eager" \
  "$(grep 'test cases:' "$work/tests.txt" | tail -n 1 | tr -s ' |' ' ')"

cat >"$work/run.json" <<'END'
{"model": {"name": "resnet20"},
 "data": {"name": "shapes10", "batch": 128, "augment": ["pad_crop", "flip"], "validation": 1000, "train_count": 51000, "test_count": 2000},
 "stages": [{"name": "4bit", "bits": 4, "epochs": 3, "lr": 0.05}], "seed": 7}
END
for name in one two; do
  ./apotnet train "$work/run.json" --device cuda --quiet --out "$work/$name" >"$work/$name.txt" 2>&1
  check $? "training, run $name" "$(grep -h error: "$work/$name.txt" | tail -n 1)"
done
cmp -s "$work/one/checkpoints/last.safetensors" "$work/two/checkpoints/last.safetensors"
check $? "two trainings with one seed, last checkpoints byte for byte the same"
for how in "cpu float" "cuda float" "cpu integer" "cuda integer"; do
  set -- $how
  ./apotnet eval --checkpoint "$work/one/checkpoints/best.safetensors" --data shapes10 --device "$1" --engine "$2" --json \
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
for engine in float integer; do
  for batch in 1 128 1024; do
    rate=$(./apotnet bench infer --device cuda --bits 4 --batch $batch --engine $engine --json 2>/dev/null | value images_per_second)
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
"$build/tests/gpu_tests" --test-case='*launches and bytes*,*table of nodes*' >>"$report" 2>&1
say '```' "" "Memory of the device after training, and occupancy of the kernels: \`nvidia-smi\` below, tests/vendor/kernel_resources.md." "" '```'
nvidia-smi --query-gpu=memory.used,memory.total --format=csv >>"$report" 2>&1
say '```' "" "## Output of the tests" "" '```'
tail -n 60 "$work/tests.txt" >>"$report"
say '```'
printf 'gpu.sh: %s %s\n' "$report" "$([ $failed = 0 ] && echo 'written' || echo 'written; a check failed')" >&2
exit $failed
