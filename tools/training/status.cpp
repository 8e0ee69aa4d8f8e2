#include "tools/training/status.h"

#include <unistd.h>

#include <nlohmann/json.hpp>

#include "core/io/atomic_file.h"
#include "tools/json_text.h"

namespace apotnet {

bool StatusFile::due() const { return std::chrono::steady_clock::now() - last_ > std::chrono::seconds(5); }

void StatusFile::write(const Status& s) {
  last_ = std::chrono::steady_clock::now();
  nlohmann::ordered_json object{{"state", s.state},
                                {"stage", s.stage},
                                {"stage_number", s.stage_number},
                                {"stages", s.stages},
                                {"epoch", s.epoch},
                                {"epochs", s.epochs},
                                {"step", s.step},
                                {"steps", s.steps},
                                {"train_loss", s.train_loss},
                                {"train_top1", s.train_top1},
                                {"images_per_second", s.images_per_second},
                                {"seconds", s.seconds},
                                {"eta_seconds", s.eta_seconds},
                                {"exit_code", nullptr},
                                {"pid", ::getpid()},
                                {"updated", std::chrono::system_clock::to_time_t(std::chrono::system_clock::now())}};
  if (s.state != "running") object["exit_code"] = s.exit_code;
  if (!s.message.empty()) object["message"] = s.message;
  const std::string content = json_text(object, 2) + "\n";
  write_file_atomically(path_, {std::as_bytes(std::span(content))});
}

}  // namespace apotnet
