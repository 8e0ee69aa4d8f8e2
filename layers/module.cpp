#include "layers/module.h"

namespace apotnet {

void Module::add_parameter(const std::string& name, Variable& variable, ParameterRole role) {
  parameters_.push_back({name, &variable, role});
}

void Module::add_buffer(const std::string& name, Tensor& tensor) { buffers_.push_back({name, &tensor}); }

void Module::add_module(const std::string& name, Module& module) { children_.push_back({name, &module}); }

void Module::collect(const std::string& prefix, std::vector<NamedParameter>* parameters,
                     std::vector<NamedBuffer>* buffers) {
  if (parameters)
    for (const NamedParameter& own : parameters_) parameters->push_back({prefix + own.name, own.variable, own.role});
  if (buffers)
    for (const NamedBuffer& own : buffers_) buffers->push_back({prefix + own.name, own.tensor});
  for (const Child& child : children_) child.module->collect(prefix + child.name + ".", parameters, buffers);
}

std::vector<Module::NamedParameter> Module::parameters() {
  std::vector<NamedParameter> result;
  collect("", &result, nullptr);
  return result;
}

std::vector<Module::NamedBuffer> Module::buffers() {
  std::vector<NamedBuffer> result;
  collect("", nullptr, &result);
  return result;
}

void Module::for_each_module(const std::function<void(Module&)>& f) {
  f(*this);
  for (const Child& child : children_) child.module->for_each_module(f);
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
