#include "deploy/share_memory.h"

#include <cstdint>
#include <map>

namespace apotnet {
namespace {

// Hands out physical slots of equal layout again once the last reader of their content is done.
template <typename Layout>
class Slots {
 public:
  explicit Slots(std::vector<Layout> wanted) : wanted_(std::move(wanted)), last_use_(wanted_.size()) {}

  void used(size_t slot, size_t step) { last_use_[slot] = step; }
  void keep(size_t slot) { last_use_[slot] = SIZE_MAX; }

  // The physical slot of one that is first written at `step`; a slot read by that step is not free yet.
  size_t place(size_t slot, size_t step) {
    if (const auto found = placed_.find(slot); found != placed_.end()) return found->second;
    for (size_t i = 0; i < layouts_.size(); ++i)
      if (layouts_[i] == wanted_[slot] && busy_until_[i] < step) {
        busy_until_[i] = last_use_[slot];
        return placed_[slot] = i;
      }
    layouts_.push_back(wanted_[slot]);
    busy_until_.push_back(last_use_[slot]);
    return placed_[slot] = layouts_.size() - 1;
  }
  const std::vector<Layout>& layouts() const { return layouts_; }

 private:
  std::vector<Layout> wanted_, layouts_;
  std::vector<size_t> last_use_, busy_until_;
  std::map<size_t, size_t> placed_;
};

}  // namespace

void share_memory(std::vector<StepSettings>& steps, NetworkPlan& plan) {
  Slots<Shape> planes(plan.planes);
  Slots<CodeFrame> frames(plan.frames);
  for (size_t i = 0; i < steps.size(); ++i)
    for_each_slot(
        steps[i], [&](size_t& plane) { planes.used(plane, i); }, [&](size_t& frame) { frames.used(frame, i); });
  planes.keep(plan.output);
  planes.place(0, 0);  // the input image comes first
  for (size_t i = 0; i < steps.size(); ++i)
    for_each_slot(
        steps[i], [&](size_t& plane) { plane = planes.place(plane, i); },
        [&](size_t& frame) { frame = frames.place(frame, i); });
  plan.output = planes.place(plan.output, steps.size());
  plan.planes = planes.layouts();
  plan.frames = frames.layouts();
}

}  // namespace apotnet
