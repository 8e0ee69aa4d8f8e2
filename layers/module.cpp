#include "layers/module.h"

namespace apotnet {

void Module::add_parameter(const std::string& name, Variable& variable, ParameterRole role) {
  parameters_.push_back({name, &variable, role});
}

void Module::add_buffer(const std::string& name, Tensor& tensor) { buffers_.push_back({name, &tensor}); }

void Module::add_module(const std::string& name, Module& module) { children_.push_back({name, &module}); }

void Module::for_each_state(const std::function<void(const NamedParameter&)>& parameter,
                            const std::function<void(const NamedBuffer&)>& buffer, const std::string& prefix) {
  for (const NamedParameter& own : parameters_) parameter({prefix + own.name, own.variable, own.role});
  for (const NamedBuffer& own : buffers_) buffer({prefix + own.name, own.tensor});
  for (const Child& child : children_) child.module->for_each_state(parameter, buffer, prefix + child.name + ".");
}

std::vector<Module::NamedParameter> Module::parameters() {
  std::vector<NamedParameter> result;
  for_each_state([&](const NamedParameter& parameter) { result.push_back(parameter); }, [](const NamedBuffer&) {});
  return result;
}

std::vector<Module::NamedBuffer> Module::buffers() {
  std::vector<NamedBuffer> result;
  for_each_state([](const NamedParameter&) {}, [&](const NamedBuffer& buffer) { result.push_back(buffer); });
  return result;
}

void Module::for_each_module(const std::function<void(Module&)>& f) {
  f(*this);
  for (const Child& child : children_) child.module->for_each_module(f);
}

void Module::move_to(Device device) {
  for (const NamedParameter& parameter : parameters()) {
    parameter.variable->clear_grad();
    parameter.variable->mutable_value() = parameter.variable->value().on(device);
  }
  for (const NamedBuffer& buffer : buffers())
    if (is_floating(buffer.tensor->dtype())) *buffer.tensor = buffer.tensor->on(device);
}

void Module::set_training(bool training) {
  for_each_module([training](Module& module) { module.training_ = training; });
}

void Module::name_modules(const std::string& own_name) {
  name_ = own_name;
  for (const Child& child : children_)
    child.module->name_modules(own_name.empty() ? child.name : own_name + "." + child.name);
}

void Module::initialize(Philox& random) {
  initialize_own(random);
  for (const Child& child : children_) child.module->initialize(random);
}

}  // namespace apotnet
