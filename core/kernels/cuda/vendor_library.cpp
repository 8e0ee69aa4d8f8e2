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

}  // namespace

VendorLibrary::VendorLibrary(std::string title, const std::vector<std::string>& file_names)
    : title_(std::move(title)), wanted_(file_names.at(0)) {
  for (size_t i = 0; i < file_names.size() && handle_ == nullptr; ++i) handle_ = open(file_names[i]);
  for (size_t i = 0; i < file_names.size() && handle_ == nullptr; ++i) handle_ = open_in_known_folders(file_names[i]);
}

std::string VendorLibrary::path() const {
  const link_map* map = nullptr;
  if (handle_ == nullptr || ::dlinfo(handle_, RTLD_DI_LINKMAP, &map) != 0) return "";
  return map->l_name;
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
  static const VendorLibrary library("the NVIDIA driver", {"libcuda.so.1"});
  return library;
}

const VendorLibrary& cudnn_library() {
  static const VendorLibrary library("cuDNN", {"libcudnn.so.9"});
  return library;
}

const VendorLibrary& cublas_library() {
  // The major version is the toolkit's: the newest first, as drivers run what is older than they are.
  static const VendorLibrary library("cuBLAS", {"libcublas.so.13", "libcublas.so.12"});
  return library;
}

const VendorLibrary& nccl_library() {
  static const VendorLibrary library("NCCL", {"libnccl.so.2"});
  return library;
}

}  // namespace apotnet::cuda
