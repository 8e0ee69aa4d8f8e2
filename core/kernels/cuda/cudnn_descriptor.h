#pragma once

#include <cudnn_graph.h>

#include <span>
#include <string>
#include <utility>
#include <vector>

namespace apotnet::cuda {

/// The functions of cuDNN that are used, taken from the library when first asked for. Error(unavailable) without it.
struct Cudnn {
  decltype(&cudnnGetVersion) version;
  decltype(&cudnnGetErrorString) error_string;
  decltype(&cudnnGetLastErrorString) last_error_string;
  decltype(&cudnnCreate) create;
  decltype(&cudnnSetStream) set_stream;
  decltype(&cudnnBackendCreateDescriptor) create_descriptor;
  decltype(&cudnnBackendDestroyDescriptor) destroy_descriptor;
  decltype(&cudnnBackendFinalize) finalize;
  decltype(&cudnnBackendSetAttribute) set_attribute;
  decltype(&cudnnBackendGetAttribute) get_attribute;
  decltype(&cudnnBackendExecute) execute;

  static const Cudnn& get();
  /// "9.19.0".
  std::string version_text() const;
  /// Error(unavailable) with cuDNN's own words unless `status` is success. `what` says what was asked of it.
  void check(cudnnStatus_t status, const std::string& what) const;
};

/// The handle for the device that was current when it was first asked for; it is kept until the program ends.
cudnnHandle_t cudnn_handle();

/// A descriptor of cuDNN's back-end interface: made empty, given attributes, finalized, and destroyed with the object.
class CudnnDescriptor {
 public:
  explicit CudnnDescriptor(cudnnBackendDescriptorType_t type);
  ~CudnnDescriptor();
  CudnnDescriptor(CudnnDescriptor&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
  CudnnDescriptor& operator=(CudnnDescriptor&& other) noexcept {
    std::swap(handle_, other.handle_);
    return *this;
  }

  cudnnBackendDescriptor_t handle() const { return handle_; }

  /// For T any type that cuDNN has an attribute type for (see type_of); both fail with Error(unavailable).
  template <typename T>
  void set(cudnnBackendAttributeName_t name, std::span<const T> values) {
    set_raw(name, type_of(T{}), std::ssize(values), values.data());
  }
  template <typename T>
  void set(cudnnBackendAttributeName_t name, const T& value) {
    set(name, std::span<const T>(&value, 1));
  }
  void set(cudnnBackendAttributeName_t name, const CudnnDescriptor& value) { set(name, std::span(&value, 1)); }
  void set(cudnnBackendAttributeName_t name, std::span<const CudnnDescriptor> values);

  /// All values of an attribute; empty if it has none.
  template <typename T>
  std::vector<T> get(cudnnBackendAttributeName_t name) const {
    std::vector<T> values(static_cast<size_t>(count(name, type_of(T{}))));
    if (!values.empty())
      values.resize(static_cast<size_t>(get_raw(name, type_of(T{}), std::ssize(values), values.data())));
    return values;
  }
  /// The descriptors that an attribute holds, all of one type.
  std::vector<CudnnDescriptor> get(cudnnBackendAttributeName_t name, cudnnBackendDescriptorType_t type) const;

  /// Error(unavailable) where cuDNN objects.
  void finalize(const std::string& what);
  /// False where cuDNN objects: it cannot do this here.
  bool try_finalize();

 private:
  static cudnnBackendAttributeType_t type_of(int64_t) { return CUDNN_TYPE_INT64; }
  static cudnnBackendAttributeType_t type_of(float) { return CUDNN_TYPE_FLOAT; }
  static cudnnBackendAttributeType_t type_of(char) { return CUDNN_TYPE_CHAR; }
  static cudnnBackendAttributeType_t type_of(void*) { return CUDNN_TYPE_VOID_PTR; }
  static cudnnBackendAttributeType_t type_of(cudnnHandle_t) { return CUDNN_TYPE_HANDLE; }
  static cudnnBackendAttributeType_t type_of(cudnnDataType_t) { return CUDNN_TYPE_DATA_TYPE; }
  static cudnnBackendAttributeType_t type_of(cudnnConvolutionMode_t) { return CUDNN_TYPE_CONVOLUTION_MODE; }
  static cudnnBackendAttributeType_t type_of(cudnnBackendHeurMode_t) { return CUDNN_TYPE_HEUR_MODE; }
  static cudnnBackendAttributeType_t type_of(cudnnBackendKnobType_t) { return CUDNN_TYPE_KNOB_TYPE; }
  static cudnnBackendAttributeType_t type_of(cudnnBackendNumericalNote_t) { return CUDNN_TYPE_NUMERICAL_NOTE; }

  void set_raw(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, int64_t count, const void* values);
  int64_t count(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type) const;
  int64_t get_raw(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, int64_t count,
                  void* values) const;

  cudnnBackendDescriptor_t handle_ = nullptr;
};

}  // namespace apotnet::cuda
