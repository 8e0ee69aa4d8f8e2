#include "models/registry.h"

#include <functional>

#include "core/base/error.h"
#include "models/mobilenet_v2.h"
#include "models/resnet_cifar.h"
#include "models/resnet_imagenet.h"

namespace apotnet {
namespace {

struct Entry {
  std::string name;
  Shape input;
  std::function<std::unique_ptr<Model>(const ModelSettings&)> make;
};

// Plan: a depth, or what else the network is made from.
template <typename Network, typename Plan>
Entry entry(const std::string& name, const Shape& input, const Plan& plan) {
  return {name, input, [plan](const ModelSettings& settings) {
            return std::make_unique<Network>(plan, settings.classes, settings.quant);
          }};
}

const std::vector<Entry>& entries() {
  static const std::vector<Entry> all = [] {
    std::vector<Entry> made;
    for (const int depth : ResNetCifar::kDepths)
      made.push_back(entry<ResNetCifar>(text("resnet", depth), {1, 32, 32, 3}, depth));
    for (const int depth : ResNetImageNet::kDepths)
      made.push_back(entry<ResNetImageNet>(text("resnet", depth), {1, 224, 224, 3}, ResNetImageNet::imagenet(depth)));
    for (const int depth : ResNetImageNet::kMnistDepths)
      made.push_back(
          entry<ResNetImageNet>(text("resnet", depth, "_mnist"), {1, 28, 28, 1}, ResNetImageNet::mnist(depth)));
    made.push_back({"mobilenet_v2", {1, 224, 224, 3}, [](const ModelSettings& settings) {
                      return std::make_unique<MobileNetV2>(settings.classes, settings.quant);
                    }});
    return made;
  }();
  return all;
}

const Entry& find(const std::string& name) {
  for (const Entry& entry : entries())
    if (entry.name == name) return entry;
  std::string known;
  for (const std::string& other : model_names()) known += (known.empty() ? "" : ", ") + other;
  fail(ErrorCategory::configuration, "unknown model \"", name, "\"; known are ", known);
}

}  // namespace

std::vector<std::string> model_names() {
  std::vector<std::string> names;
  for (const Entry& entry : entries()) names.push_back(entry.name);
  return names;
}

std::unique_ptr<Model> make_model(const ModelSettings& settings) {
  std::unique_ptr<Model> model = find(settings.name).make(settings);
  model->name_modules();
  return model;
}

Shape model_input(const std::string& name) { return find(name).input; }

}  // namespace apotnet
