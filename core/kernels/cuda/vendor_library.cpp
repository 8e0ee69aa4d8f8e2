#include "core/kernels/cuda/vendor_library.h"

#include <dlfcn.h>
#include <link.h>

#include <sstream>

#include "core/base/build_info.h"
#include "core/base/error.h"

namespace apotnet::cuda {
namespace {

// Local and lazy: symbols of other programs' libraries stay as they are, and only what is called is bound.
void* open(const std::string& file) { return ::dlopen(file.c_str(), RTLD_LAZY | RTLD_LOCAL); }

void* open_in_known_folders(const std::string& name) {
  std::istringstream folders(kCudaFolders);
  for (std::string folder; std::getline(folders, folder, ':');)
    if (void* handle = open(folder + "/" + name)) return handle;
  return nullptr;
}

// How each tells its version; none of their headers has to be there for that.
std::string driver_version(const VendorLibrary& library) {
  int version = 0;
  if (library.function<int(int*)>("cuDriverGetVersion")(&version) != 0) return "";
  return text("for CUDA ", version / 1000, ".", version % 1000 / 10);
}
std::string cudnn_version(const VendorLibrary& library) {
  const size_t version = library.function<size_t()>("cudnnGetVersion")();
  return text(version / 10000, ".", version / 100 % 100, ".", version % 100);
}
std::string cublas_version(const VendorLibrary& library) {
  const auto property = library.function<int(int, int*)>("cublasGetProperty");
  int parts[3] = {};  // libraryPropertyType: major, minor, patch
  for (int i = 0; i < 3; ++i)
    if (property(i, &parts[i]) != 0) return "";
  return text(parts[0], ".", parts[1], ".", parts[2]);
}
std::string nccl_version(const VendorLibrary& library) {
  int version = 0;
  if (library.function<int(int*)>("ncclGetVersion")(&version) != 0) return "";
  return text(version / 10000, ".", version / 100 % 100, ".", version % 100);
}

}  // namespace

VendorLibrary::VendorLibrary(std::string title, const std::vector<std::string>& file_names,
                             std::string (*ask)(const VendorLibrary&))
    : title_(std::move(title)), wanted_(file_names.at(0)), version_(ask) {
  for (size_t i = 0; i < file_names.size() && handle_ == nullptr; ++i) handle_ = open(file_names[i]);
  for (size_t i = 0; i < file_names.size() && handle_ == nullptr; ++i) handle_ = open_in_known_folders(file_names[i]);
}

std::string VendorLibrary::path() const {
  const link_map* map = nullptr;
  if (handle_ == nullptr || ::dlinfo(handle_, RTLD_DI_LINKMAP, &map) != 0) return "";
  return map->l_name;
}

std::string VendorLibrary::version() const {
  try {
    return version_(*this);
  } catch (const Error&) {  // not there, or without that function
    return "";
  }
}

void* VendorLibrary::address(const char* name) const {
  if (!found())
    fail(ErrorCategory::unavailable, title_, " (", wanted_,
         ") not found; install it or add its folder to LD_LIBRARY_PATH");
  void* symbol = ::dlsym(handle_, name);
  if (symbol == nullptr)
    fail(ErrorCategory::unavailable, path(), " has no ", name, "; another version of ", title_, " is needed");
  return symbol;
}

const VendorLibrary& driver_library() {
  static const VendorLibrary library("the NVIDIA driver", {"libcuda.so.1"}, driver_version);
  return library;
}

const VendorLibrary& cudnn_library() {
  static const VendorLibrary library("cuDNN", {"libcudnn.so.9"}, cudnn_version);
  return library;
}

const VendorLibrary& cublas_library() {
  // The major version is the toolkit's: the newest first, as drivers run what is older than they are.
  static const VendorLibrary library("cuBLAS", {"libcublas.so.13", "libcublas.so.12"}, cublas_version);
  return library;
}

const VendorLibrary& nccl_library() {
  static const VendorLibrary library("NCCL", {"libnccl.so.2"}, nccl_version);
  return library;
}

}  // namespace apotnet::cuda
