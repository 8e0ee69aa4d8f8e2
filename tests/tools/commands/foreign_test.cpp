// Checkpoints of other programs, which do not say how they are to be read.
#include <doctest/doctest.h>

#include <nlohmann/json.hpp>

#include "core/io/safetensors.h"
#include "tests/support/run_program.h"
#include "tests/support/test_data.h"

using namespace apotnet;
using namespace apotnet::test;

TEST_CASE("a quantized checkpoint of another program is read with the levels that --method names, else with apot") {
  const TemporaryFolder folder;
  const std::string program = APOTNET_BINARY;
  REQUIRE(run_program(program + " train " + kSourceFolder + "/configs/quickstart.json --threads 1 --quiet --out " +
                      folder / "run" +
                      " --set data.train_count=200 --set data.test_count=40 --set data.validation=40 --set "
                      "data.batch=32 --set model.name=resnet8 --set stages.0.epochs=1 --set quant.method=uniform")
              .exit_code == 0);
  const std::string ours = folder / "run/checkpoints/last.safetensors", foreign = folder / "foreign.safetensors";
  TensorFile file = read_safetensors(ours);
  std::erase_if(file.tensors, [](const NamedTensor& entry) { return entry.name.starts_with("optimizer."); });
  file.metadata.clear();
  write_safetensors(foreign, file);

  const std::string eval = program + " eval --json --data shapes10 --limit 40 --checkpoint ";
  const auto loss = [](const Finished& finished) {
    REQUIRE_MESSAGE(finished.exit_code == 0, finished.error);
    return nlohmann::json::parse(finished.out)["loss"].get<double>();
  };
  const Finished native = run_program(eval + ours), named = run_program(eval + foreign + " --bits 4 --method uniform"),
                 assumed = run_program(eval + foreign + " --bits 4");
  CHECK(native.error.empty());
  CHECK(named.error.empty());
  CHECK(assumed.one_line());
  CHECK(assumed.error.find("foreign.safetensors: does not say its levels and is read as apot") != std::string::npos);
  CHECK(run_program(eval + foreign + " --bits 4 --quiet").error.empty());
  CHECK(run_program(eval + foreign + " --bits 4 --method apot").error.empty());
  CHECK(nlohmann::json::parse(
            run_program(program + " inspect --json --bits 4 --method uniform " + foreign).out)["method"] == "uniform");

  const Finished refused = run_program(eval + ours + " --method apot");
  CHECK(refused.exit_code == 64);
  CHECK(refused.one_line());
  CHECK(refused.error.find("last.safetensors says uniform; leave --method out") != std::string::npos);
  CHECK(loss(assumed) != loss(native));
  CHECK(loss(named) == loss(native));
}
