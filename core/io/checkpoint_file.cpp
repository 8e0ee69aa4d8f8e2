#include "core/io/checkpoint_file.h"

#include "core/base/error.h"
#include "core/io/atomic_file.h"
#include "core/io/printable.h"
#include "core/io/pth.h"
#include "core/io/safetensors.h"

namespace apotnet {
namespace {

// A state dict that Python saved as safetensors may carry the prefix that the reader of .pth files drops.
void drop_module_prefix(TensorFile& file, const std::string& path) {
  for (NamedTensor& entry : file.tensors) {
    if (!entry.name.starts_with("module.")) continue;
    const std::string name = entry.name.substr(7);
    if (file.find(name)) fail(ErrorCategory::damaged_data, path, ": tensor ", printable(name), " stands twice");
    entry.name = name;
  }
}

}  // namespace

TensorFile read_checkpoint_file(const std::string& path) {
  constexpr size_t kMostBytes = size_t{16} << 30;  // an index of pictures or an image of a disk is not read into memory
  const std::vector<std::byte> bytes = read_file(path, kMostBytes);
  if (looks_like_pth_zip(bytes) || looks_like_pth_legacy(bytes)) return parse_pth(bytes, path);
  if (bytes.size() > 8 && bytes[8] == std::byte{'{'}) {
    TensorFile file = parse_safetensors(bytes, path);
    drop_module_prefix(file, path);
    return file;
  }
  fail(ErrorCategory::damaged_data, path,
       ": is neither a safetensors file nor a PyTorch checkpoint (legacy stream or zip archive); give a .safetensors, "
       ".pth or .pth.tar file");
}

}  // namespace apotnet
