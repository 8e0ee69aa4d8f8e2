#include "models/registry.h"

#include <functional>

#include "core/base/error.h"
#include "models/resnet_cifar.h"
#include "models/resnet_imagenet.h"

namespace apotnet {
namespace {

struct Entry {
  std::string name;
  Shape input;
  std::function<std::unique_ptr<Model>(const ModelSettings&)> make;
};

template <typename ResNet>
Entry resnet(int depth, const Shape& input) {
  return {text("resnet", depth), input, [depth](const ModelSettings& settings) {
            return std::make_unique<ResNet>(depth, settings.classes, settings.quant);
          }};
}

const std::vector<Entry>& entries() {
  static const std::vector<Entry> all = [] {
    std::vector<Entry> made;
    for (const int depth : ResNetCifar::kDepths) made.push_back(resnet<ResNetCifar>(depth, {1, 32, 32, 3}));
    for (const int depth : ResNetImageNet::kDepths) made.push_back(resnet<ResNetImageNet>(depth, {1, 224, 224, 3}));
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
