#include "core/kernels/cuda/cudnn_descriptor.h"

#include <array>

#include "core/base/error.h"
#include "core/kernels/cuda/vendor_library.h"

namespace apotnet::cuda {
namespace {

Cudnn open_cudnn() {
  const VendorLibrary& library = cudnn_library();
  Cudnn cudnn{};
  const auto take = [&library]<typename Function>(Function*& member, const char* name) {
    member = library.function<Function>(name);
  };
  take(cudnn.version, "cudnnGetVersion");
  take(cudnn.error_string, "cudnnGetErrorString");
  take(cudnn.last_error_string, "cudnnGetLastErrorString");
  take(cudnn.create, "cudnnCreate");
  take(cudnn.set_stream, "cudnnSetStream");
  take(cudnn.create_descriptor, "cudnnBackendCreateDescriptor");
  take(cudnn.destroy_descriptor, "cudnnBackendDestroyDescriptor");
  take(cudnn.finalize, "cudnnBackendFinalize");
  take(cudnn.set_attribute, "cudnnBackendSetAttribute");
  take(cudnn.get_attribute, "cudnnBackendGetAttribute");
  take(cudnn.execute, "cudnnBackendExecute");
  return cudnn;
}

}  // namespace

const Cudnn& Cudnn::get() {
  static const Cudnn cudnn = open_cudnn();
  return cudnn;
}

std::string Cudnn::version_text() const {
  const size_t number = version();
  return text(number / 10000, ".", number / 100 % 100, ".", number % 100);
}

void Cudnn::check(cudnnStatus_t status, const std::string& what) const {
  if (status == CUDNN_STATUS_SUCCESS) return;
  std::array<char, 256> detail{};
  last_error_string(detail.data(), detail.size() - 1);
  std::string line = detail.data();
  for (char& letter : line)
    if (letter == '\n' || letter == '\r') letter = ' ';
  fail(ErrorCategory::unavailable, "cuDNN ", version_text(), ": ", what, ": ", error_string(status),
       line.empty() ? "" : "; ", line);
}

cudnnHandle_t cudnn_handle() {
  static const cudnnHandle_t handle = [] {
    const Cudnn& cudnn = Cudnn::get();
    cudnnHandle_t made = nullptr;
    cudnn.check(cudnn.create(&made), "opening it on the device");
    return made;
  }();
  return handle;
}

CudnnDescriptor::CudnnDescriptor(cudnnBackendDescriptorType_t type) {
  const Cudnn& cudnn = Cudnn::get();
  cudnn.check(cudnn.create_descriptor(type, &handle_), text("a descriptor of type ", static_cast<int>(type)));
}

CudnnDescriptor::~CudnnDescriptor() {
  if (handle_ != nullptr) Cudnn::get().destroy_descriptor(handle_);
}

void CudnnDescriptor::set(cudnnBackendAttributeName_t name, std::span<const CudnnDescriptor> values) {
  std::vector<cudnnBackendDescriptor_t> handles;
  for (const CudnnDescriptor& value : values) handles.push_back(value.handle_);
  set_raw(name, CUDNN_TYPE_BACKEND_DESCRIPTOR, std::ssize(handles), handles.data());
}

std::vector<CudnnDescriptor> CudnnDescriptor::get(cudnnBackendAttributeName_t name,
                                                  cudnnBackendDescriptorType_t type) const {
  // cuDNN fills descriptors that the caller has made, and may in the end fill fewer than it announced.
  std::vector<CudnnDescriptor> values;
  std::vector<cudnnBackendDescriptor_t> handles;
  const int64_t announced = name == CUDNN_ATTR_ENGINECFG_KNOB_CHOICES ? int64_t{CUDNN_KNOB_TYPE_COUNTS}
                                                                      // cuDNN 9 announces 0 of these, and gives them
                                                                      : count(name, CUDNN_TYPE_BACKEND_DESCRIPTOR);
  for (int64_t i = 0; i < announced; ++i) handles.push_back(values.emplace_back(type).handle_);
  if (values.empty()) return values;
  const int64_t filled = get_raw(name, CUDNN_TYPE_BACKEND_DESCRIPTOR, std::ssize(handles), handles.data());
  while (std::ssize(values) > filled) values.pop_back();
  return values;
}

void CudnnDescriptor::finalize(const std::string& what) {
  const Cudnn& cudnn = Cudnn::get();
  cudnn.check(cudnn.finalize(handle_), what);
}

bool CudnnDescriptor::try_finalize() { return Cudnn::get().finalize(handle_) == CUDNN_STATUS_SUCCESS; }

void CudnnDescriptor::set_raw(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, int64_t count,
                              const void* values) {
  const Cudnn& cudnn = Cudnn::get();
  cudnn.check(cudnn.set_attribute(handle_, name, type, count, values),
              text("setting attribute ", static_cast<int>(name)));
}

int64_t CudnnDescriptor::count(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type) const {
  return get_raw(name, type, 0, nullptr);
}

int64_t CudnnDescriptor::get_raw(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, int64_t count,
                                 void* values) const {
  const Cudnn& cudnn = Cudnn::get();
  int64_t filled = 0;
  cudnn.check(cudnn.get_attribute(handle_, name, type, count, &filled, values),
              text("reading attribute ", static_cast<int>(name)));
  return filled;
}

}  // namespace apotnet::cuda
