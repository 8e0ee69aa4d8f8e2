#pragma once

#include <string>
#include <vector>

namespace apotnet::cuda {

/// One of NVIDIA's libraries, opened when it is first asked for and then kept, so that the program starts where it is
/// not installed and does not wait for it where it is.
class VendorLibrary {
 public:
  /// Tries the loader's own search (LD_LIBRARY_PATH, ldconfig) for every file name, then the folders the build knows.
  /// `ask` asks it for its version.
  VendorLibrary(std::string title, const std::vector<std::string>& file_names,
                std::string (*ask)(const VendorLibrary&));

  bool found() const { return handle_ != nullptr; }
  const std::string& title() const { return title_; }
  /// Where it lies; empty if it was not found.
  std::string path() const;
  /// As it says itself, "9.19.0"; empty where it does not.
  std::string version() const;

  /// Of the type of `declaration`, a function that the library's header declares:
  ///   const auto create = library.function<decltype(cudnnCreate)>("cudnnCreate");
  /// Error(unavailable) naming library and function where either is missing.
  template <typename Declaration>
  Declaration* function(const char* name) const {
    return reinterpret_cast<Declaration*>(address(name));
  }

 private:
  void* address(const char* name) const;

  std::string title_, wanted_;
  std::string (*version_)(const VendorLibrary&);
  void* handle_ = nullptr;
};

const VendorLibrary& driver_library();  ///< libcuda, which comes with the driver
const VendorLibrary& cudnn_library();
const VendorLibrary& cublas_library();
const VendorLibrary& nccl_library();

}  // namespace apotnet::cuda
