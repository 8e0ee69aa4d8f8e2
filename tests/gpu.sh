#!/bin/sh
# Everything that needs a GPU in one go, as one report: what the tests of this repository cannot show without one.
set -u

usage() {
  cat <<'END'
Usage: tests/gpu.sh [REPORT]
Builds what is missing, runs the tests on the CUDA device, compares it with the CPU, trains twice, measures, and writes a
Markdown report (gpu-report.md where no REPORT is named).
APOTNET_DATA   folder with the data for the golden tests (README, "Data for the tests")
APOTNET_PEERS  folder with peer_torch.py, to measure PyTorch beside it: takes --device, --style, --mode, --compile,
               and prints JSON with "images_per_second"
APOTNET_BIN    folder with apotnet and gpu_tests, to run these and build nothing
APOTNET_BUILD  another build folder than build
The output of the programs goes into a folder beside the report, report-logs for report.md.
Exit codes: 0 done, 1 a check failed, 64 usage, 69 no device, 70 the programs are not there, 74 cannot write.
Example: tests/gpu.sh report.md
END
}
fail() { code=$1; shift; printf 'gpu.sh: %s\n' "$*" >&2; exit "$code"; }

case "${1:-}" in
  -h | --help) usage; exit 0 ;;
  -*) fail 64 "unknown option $1; see tests/gpu.sh --help" ;;
esac
[ $# -le 1 ] || fail 64 "one report at a time; see tests/gpu.sh --help"
absolute() { case $1 in /* | '') printf '%s' "$1" ;; *) printf '%s/%s' "$PWD" "$1" ;; esac; }
report=$(absolute "${1:-gpu-report.md}") bin=$(absolute "${APOTNET_BIN:-}") peers=$(absolute "${APOTNET_PEERS:-}")
build=$(absolute "${APOTNET_BUILD:-}")
[ -z "$build" ] || export APOTNET_BUILD="$build"
unset APOTNET_CHAINS  # both ways are run
cd "$(dirname "$0")/.." || exit 70

# The value of a key of one JSON line: a text, or what else there is.
value() { sed -n -e 's/.*"'"$1"'": *"\([^"]*\)".*/\1/p' -e 's/.*"'"$1"'": *\([^",}]*\).*/\1/p' | sed -n '/./{p;q;}'; }

if [ -n "$bin" ]; then
  apotnet=$bin/apotnet tests=$bin/gpu_tests
else
  apotnet=./apotnet tests=${build:-build}/tests/gpu_tests
fi
found=$("$apotnet" doctor --json) || fail 70 "$apotnet doctor failed"
device=$(printf '%s' "$found" | value cuda)
case $device in *' (sm_'*) ;; *) fail 69 "${device:-no CUDA device}" ;; esac  # else it says what is missing
[ -n "$bin" ] || ./apotnet test --list >/dev/null || fail 70 "the tests could not be built"
work=$(mktemp -d) || exit 74
watch=
trap 'rm -rf "$work"; [ -z "$watch" ] || kill "$watch" 2>/dev/null' EXIT
failed=0
: >"$report" || fail 74 "cannot write $report"
say() { printf '%s\n' "$@" >>"$report"; }
# check STATUS WHAT [DETAIL]: a line of the table; a status other than 0 fails the whole.
check() {
  word=passed
  [ "$1" = 0 ] || { word='**failed**' failed=1; }
  say "| $2 | $word${3:+: $3} |"
}

say "# apotnet on ${device%% (sm_*}" "" "$(git rev-parse --short=12 HEAD 2>/dev/null), $(date -u +%Y-%m-%d)" "" '```'
{ "$apotnet" version; "$apotnet" doctor; nvidia-smi --query-gpu=name,driver_version,memory.total,power.limit --format=csv; } >>"$report" 2>&1
say '```' "" "## Checks" "" "| check | result |" "|---|---|"

# Each test case in a process of its own: an illegal access ends only that, and one that hangs is ended. Those of whole
# networks, which take gigabytes of the device, come last and one by one.
logs=${report%.md}-logs
mkdir -p "$logs" && rm -f "$logs"/* || fail 74 "cannot write $logs"
export tests logs
"$tests" --list-test-cases | grep -v -e '^\[doctest\]' -e '^=' >"$logs/cases.txt"
jobs=$(($(nproc) / 2))
[ "$jobs" -le 8 ] || jobs=8
large='launches and bytes'
cat >"$work/case.sh" <<'END'
number=${1%%:*} name=${1#*:}
filter=$(printf %s "$name" | tr , "?")
timeout 180 "$tests" --test-case="$filter" >"$logs/$number.txt" 2>&1 && grep -q "test cases: *[1-9]" "$logs/$number.txt" &&
  exit 0
echo "$number:$name" >>"$logs/failed.txt"
CUDA_LAUNCH_BLOCKING=1 timeout 180 "$tests" --test-case="$filter" >"$logs/$number.blocking.txt" 2>&1
END
nl -ba -w1 -s: "$logs/cases.txt" >"$work/numbered"
grep -v "$large" "$work/numbered" | xargs -r -P "$((jobs > 0 ? jobs : 1))" -d '\n' -n 1 sh "$work/case.sh"
grep "$large" "$work/numbered" | xargs -d '\n' -r -n 1 sh "$work/case.sh"
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
memory() { nvidia-smi --query-gpu=memory.used --format=csv,noheader,nounits 2>/dev/null | head -n 1; }
# train NAME WHAT: a run in $work/NAME, and its line.
train() {
  timeout 300 "$apotnet" train "$work/run.json" --device cuda --quiet --out "$work/$1" >"$logs/train-$1.txt" 2>&1
  check $? "$2" "$(grep -h error: "$logs/train-$1.txt" | tail -n 1)"
}
before=$(memory)
(while :; do memory; sleep 1; done) >"$work/memory" &
watch=$!
for name in one two; do train $name "training, run $name"; done
kill $watch
watch=
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
for golden in "${APOTNET_DATA:-/nowhere}/golden" "${APOTNET_DATA:-/nowhere}/../golden"; do
  [ -f "$golden/resnet20_3bit.pth.tar" ] || continue
  for engine in float integer; do
    timeout 300 "$apotnet" eval --checkpoint "$golden/resnet20_3bit.pth.tar" --bits 3 --data "cifar10:$APOTNET_DATA/cifar-10-batches-bin" \
      --device cuda --engine $engine --min-top1 92.44 --json >"$work/eval.json" 2>"$work/eval.txt"
    check $? "the authors' checkpoint, $engine engine, at least 92.44 %" "top-1 $(value top1 <"$work/eval.json") % $(tail -n 1 "$work/eval.txt")"
  done
  break
done
for where in cpu cuda; do
  cmp -s "$work/$where.float" "$work/$where.integer"
  check $? "logits of both engines on $where, all bits the same"
done
# The images at the two ends are rounded differently, so a few may change sides.
awk 'NR == 1 { cpu = $1 } NR == 2 { exit !($1 != "" && cpu != "" && ($1 - cpu) ^ 2 <= 0.1 ^ 2 + 1e-9) } END { if (NR < 2) exit 1 }' \
  "$work/cpu.float.top1" "$work/cuda.float.top1"
check $? "top-1 on cuda within 0.1 points of that on cpu"

export APOTNET_CHAINS=off
train off "training without chains"
unset APOTNET_CHAINS
for tool in memcheck racecheck; do
  what="compute-sanitizer $tool of a step with chains"
  if ! command -v compute-sanitizer >/dev/null; then
    say "| $what | not run: compute-sanitizer, of the CUDA toolkit, is not on the PATH |"
    continue
  fi
  timeout 300 compute-sanitizer --tool $tool --error-exitcode 1 "$tests" --test-case='*scaled do not end a chain*' >"$logs/$tool.txt" 2>&1
  status=$?
  if [ $status = 124 ]; then
    say "| $what | not finished in 300 s |"
  else
    check $status "$what" "$(grep 'SUMMARY' "$logs/$tool.txt" | tail -n 1)"
  fi
done

# speeds NAME: epoch by epoch.
speeds() { grep -o '"images_per_second":[0-9.]*' "$work/$1/metrics.jsonl" | cut -d: -f2 | tr '\n' ' '; }
say "" "## Speed" "" "| what | images/s |" "|---|---|"
say "| training ResNet-20, 4 bit, batch 128, last of three epochs, validation and saving not counted | $(grep '"images_per_second"' "$work/one/metrics.jsonl" | tail -n 1 | value images_per_second) |"
say "| the same, epoch by epoch, and once more | $(speeds one); $(speeds two) |"
say "| without chains | $(speeds off) |"
for engine in float integer; do
  for batch in 1 128 1024; do
    rate=$(timeout 120 "$apotnet" bench infer --device cuda --bits 4 --batch $batch --engine $engine --json 2>"$logs/bench.txt" | value images_per_second)
    [ -n "$rate" ] || failed=1 rate="**failed**: $(tail -n 1 "$logs/bench.txt")"
    say "| inference, $engine engine, batch $batch | $rate |"
  done
done
if [ -n "$peers" ]; then
  for style in authors good float; do
    compile=--compile
    [ $style = authors ] && compile=
    rate=$(timeout 600 python3 "$peers/peer_torch.py" --device cuda --style $style $compile --mode train 2>"$logs/torch-$style.txt" | value images_per_second)
    [ -n "$rate" ] || rate="could not be run: $(tail -n 1 "$logs/torch-$style.txt")"
    say "| PyTorch, training, $style $compile | $rate |"
  done
fi

say "" "## The recorded step" "" '```'
timeout 120 "$tests" --test-case='*launches and bytes*,*table of nodes*' >>"$report" 2>&1
say '```' "" "Memory of the device: ${before:-unknown} MiB before training, at most $(sort -n "$work/memory" | tail -n 1) MiB during it. Occupancy of the kernels: tests/vendor/kernel_resources.md."
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
