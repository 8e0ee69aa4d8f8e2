// tests/gpu.sh with stand-ins for the programs that it runs: what it makes of their answers.
#include <doctest/doctest.h>

#include <filesystem>

#include "tests/support/files.h"
#include "tests/support/run_program.h"

using namespace apotnet;
using namespace apotnet::test;

namespace {

constexpr const char* kProgram = R"(#!/bin/sh
command=$1 device=cpu
while [ $# -gt 0 ]; do
  case $1 in --device) device=$2 ;; --engine) engine=$2 ;; --out) out=$2 ;; --logits) logits=$2 ;; esac
  shift
done
case $command in
  doctor) echo "{\"command\": \"doctor\", \"cuda\": \"${DEVICE:-a device (sm_90, 132 multiprocessors)}\"}" ;;
  train)
    mkdir -p "$out/checkpoints"
    echo weights >"$out/checkpoints/last.safetensors"
    [ "$APOTNET_CHAINS" = off ] && rate=20.5 || rate=41.5
    printf "{\"images_per_second\":$rate}\n{\"test_top1\":90}\n" >"$out/metrics.jsonl" ;;
  eval)
    [ "$device $engine" != "$FAILING" ] || { echo "apotnet: error: no" >&2; exit 76; }
    [ $device = cuda ] && echo "{\"top1\": ${CUDA_TOP1:-90.05}, \"loss\": 0.5}" || echo '{"top1": 90.1, "loss": 0.5}'
    [ -z "$logits" ] || echo "$device" >"$logits" ;;
  bench) [ "$engine" != "$SLOW" ] && echo '{"images_per_second": 7.25}' ;;
esac
)";

constexpr const char* kTests = R"(#!/bin/sh
case $1 in --list-test-cases)
  printf '[doctest] listing all test case names\n=====\none, and more\ntwo\n=====\n'
  exit ;;
esac
echo "$1 [doctest] test cases:    1 |    1 passed"
case $1 in *two) exit ${TESTS_CODE:-0} ;; esac
)";

void write_script(const std::string& path, const char* content) {
  write_text(path, content);
  std::filesystem::permissions(path, std::filesystem::perms::owner_all);
}

}  // namespace

TEST_CASE("gpu.sh writes a table of checks, and fails when one of them fails") {
  const TemporaryFolder folder;
  std::filesystem::create_directories(folder / "tests");
  std::filesystem::create_directories(folder / "build/tests");
  std::filesystem::copy_file("tests/gpu.sh", folder / "tests/gpu.sh");
  write_script(folder / "apotnet", kProgram);
  write_script(folder / "build/tests/gpu_tests", kTests);
  write_script(folder / "nvidia-smi", "#!/bin/sh\necho 1234\n");
  write_script(folder / "compute-sanitizer", "#!/bin/sh\necho \"$2: ERROR SUMMARY: 0 errors\"\n");
  std::filesystem::create_directories(folder / "data/golden");
  write_text(folder / "data/golden/resnet20_3bit.pth.tar", "weights");
  const auto run = [&](const std::string& variables) {
    return run_program("env -u APOTNET_PEERS -u APOTNET_BUILD -u APOTNET_BIN APOTNET_DATA=" + folder / "data PATH=" +
                       folder / ":$PATH " + variables + " sh " + folder / "tests/gpu.sh " + folder / "report.md");
  };
  const Finished passed = run("FAILING=");
  INFO(passed.error);
  CHECK(passed.exit_code == 0);
  const std::string report = read_text(folder / "report.md");
  CHECK(report.starts_with("# apotnet on a device\n\n"));
  CHECK(report.find("\n## Checks\n\n| check | result |\n|---|---|\n| contract") != std::string::npos);
  CHECK(report.find("| evaluation on cuda, float engine | passed: top-1 90.05 %, loss 0.5 |\n") != std::string::npos);
  CHECK(report.find("validation and saving not counted | 41.5 |\n") != std::string::npos);
  CHECK(report.find("passed: 2 of 2 test cases, 0 of them skipped for want of data |\n") != std::string::npos);
  CHECK(report.find("| the authors' checkpoint, integer engine, at least 92.44 % | passed: top-1 90.05 %") !=
        std::string::npos);
  CHECK(report.find("| passed: racecheck: ERROR SUMMARY: 0 errors |\n") != std::string::npos);
  CHECK(report.find("| without chains | 20.5  |\n") != std::string::npos);
  CHECK(report.find("1234 MiB before training, at most 1234 MiB during it") != std::string::npos);
  CHECK(report.find("failed") == std::string::npos);
  CHECK(read_text(folder / "report-logs/1.txt").starts_with("--test-case=one? and more "));

  for (const std::string variables : {"TESTS_CODE=1", "FAILING='cuda integer'", "CUDA_TOP1=89.9", "SLOW=integer"}) {
    CAPTURE(variables);
    const Finished failed = run(variables);
    CHECK(failed.exit_code == 1);
    CHECK(read_text(folder / "report.md").find("| **failed**") != std::string::npos);
    CHECK(failed.error.find("a check failed") != std::string::npos);
  }

  // What doctor says where there is no device.
  std::filesystem::remove(folder / "report.md");
  for (const std::string reason : {"no CUDA device (driver not found); use --device cpu", "this build has no CUDA; ...",
                                   "the CUDA device 0, OLD, is of compute capability 7.5; ..."}) {
    CAPTURE(reason);
    const Finished none = run("DEVICE='" + reason + "'");
    CHECK(none.exit_code == 69);
    CHECK(none.error == "gpu.sh: " + reason + "\n");
  }
  CHECK_FALSE(std::filesystem::exists(folder / "report.md"));
}
