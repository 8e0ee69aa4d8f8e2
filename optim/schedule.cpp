#include "optim/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "core/base/error.h"

namespace apotnet {

ScheduleKind parse_schedule_kind(const std::string& name) {
  if (name == "constant") return ScheduleKind::constant;
  if (name == "milestones") return ScheduleKind::milestones;
  if (name == "cosine") return ScheduleKind::cosine;
  fail(ErrorCategory::configuration, "unknown schedule \"", name, "\"; use constant, milestones or cosine");
}

double Schedule::factor(int64_t epoch, int64_t step, int64_t steps_per_epoch) const {
  const double per_epoch = static_cast<double>(std::max<int64_t>(steps_per_epoch, 1));
  const double time = static_cast<double>(epoch) + static_cast<double>(step) / per_epoch;
  double result = 1;
  if (kind == ScheduleKind::milestones)
    for (const int64_t milestone : milestones) result *= epoch >= milestone ? gamma : 1;
  if (kind == ScheduleKind::cosine) result = 0.5 * (1 + std::cos(std::numbers::pi * std::min(time / epochs, 1.0)));
  // The first step of the warm-up takes one step's share, so that it is not lost.
  if (time < warmup_epochs) result *= std::min(1.0, (time + 1 / per_epoch) / warmup_epochs);
  return result;
}

}  // namespace apotnet
