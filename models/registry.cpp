#include "models/registry.h"

#include <functional>

#include "core/base/error.h"
#include "models/resnet_cifar.h"

namespace apotnet {
namespace {

struct Entry {
  std::string name;
  std::function<std::unique_ptr<Model>(const ModelSettings&)> make;
};

Entry resnet_cifar(int depth) {
  return {text("resnet", depth), [depth](const ModelSettings& settings) {
            return std::make_unique<ResNetCifar>(depth, settings.classes, settings.quant);
          }};
}

const std::vector<Entry>& entries() {
  static const std::vector<Entry> all{resnet_cifar(20), resnet_cifar(32), resnet_cifar(44), resnet_cifar(56),
                                      resnet_cifar(110)};
  return all;
}

}  // namespace

std::vector<std::string> model_names() {
  std::vector<std::string> names;
  for (const Entry& entry : entries()) names.push_back(entry.name);
  return names;
}

std::unique_ptr<Model> make_model(const ModelSettings& settings) {
  for (const Entry& entry : entries())
    if (entry.name == settings.name) {
      std::unique_ptr<Model> model = entry.make(settings);
      model->name_modules();
      return model;
    }
  std::string known;
  for (const std::string& name : model_names()) known += (known.empty() ? "" : ", ") + name;
  fail(ErrorCategory::configuration, "unknown model \"", settings.name, "\"; known are ", known);
}

}  // namespace apotnet
