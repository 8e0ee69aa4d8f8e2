#pragma once

#include <functional>
#include <string>
#include <vector>

#include "core/autograd/variable.h"
#include "core/base/philox.h"

namespace apotnet {

/// What an optimizer needs to know of a parameter to put it into a group.
enum class ParameterRole { ordinary, weight_alpha, activation_alpha };

/// A part of a network that owns parameters (learned) and buffers (kept with the model, not learned) under the names
/// that checkpoints use, "layer1.0.conv1.weight". Weights are [O, KH, KW, I] in memory.
class Module {
 public:
  Module() = default;
  virtual ~Module() = default;
  Module(const Module&) = delete;
  Module& operator=(const Module&) = delete;

  struct NamedParameter {
    std::string name;
    Variable* variable;
    ParameterRole role;
  };
  struct NamedBuffer {
    std::string name;
    Tensor* tensor;
  };

  /// All parameters or buffers below this module, in the order of construction, with full names.
  std::vector<NamedParameter> parameters();
  std::vector<NamedBuffer> buffers();
  /// Calls one of the two for everything kept with the model, in the order of PyTorch's state_dict: of each module its
  /// parameters, then its buffers, then its children.
  void for_each_state(const std::function<void(const NamedParameter&)>& parameter,
                      const std::function<void(const NamedBuffer&)>& buffer, const std::string& prefix = "");
  /// Calls f for this module and every module below it, parents first.
  void for_each_module(const std::function<void(Module&)>& f);

  /// Parameters and float buffers go to `device`: before an optimizer or anything else holds one of them. Counters stay
  /// with the host.
  void move_to(Device device);

  /// Training mode uses and updates batch statistics; evaluation mode the running ones. Starts in training mode.
  void set_training(bool training);
  bool training() const { return training_; }
  /// Full name, for messages; set for the whole tree by name_modules() of the root.
  const std::string& name() const { return name_; }
  void name_modules(const std::string& own_name = "");

  /// Fresh values for every parameter and buffer, drawn from `random` in the order of construction.
  void initialize(Philox& random);

 protected:
  void add_parameter(const std::string& name, Variable& variable, ParameterRole role = ParameterRole::ordinary);
  void add_buffer(const std::string& name, Tensor& tensor);
  void add_module(const std::string& name, Module& module);
  /// Fresh values for what this module itself owns.
  virtual void initialize_own(Philox&) {}

 private:
  struct Child {
    std::string name;
    Module* module;
  };

  std::vector<NamedParameter> parameters_;
  std::vector<NamedBuffer> buffers_;
  std::vector<Child> children_;
  std::string name_;
  bool training_ = true;
};

}  // namespace apotnet
