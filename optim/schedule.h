#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace apotnet {

enum class ScheduleKind {
  constant,
  milestones,  ///< times gamma at each milestone
  cosine       ///< half a cosine from 1 at the start to 0 at the end
};

/// Error(configuration) for an unknown name.
ScheduleKind parse_schedule_kind(const std::string& name);

/// The factor on every group's learning rate over the course of a stage.
struct Schedule {
  ScheduleKind kind = ScheduleKind::constant;
  double epochs = 1;                ///< length of the stage, for the cosine
  std::vector<int64_t> milestones;  ///< in epochs; the factor changes after that many
  double gamma = 0.1;
  double warmup_epochs = 0;  ///< linear from near 0, over whatever the kind says

  /// Factor of step `step` (from 0) of epoch `epoch` (from 0).
  double factor(int64_t epoch, int64_t step, int64_t steps_per_epoch) const;
};

}  // namespace apotnet
