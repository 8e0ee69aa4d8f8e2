#include "core/io/checkpoint_file.h"

#include "core/base/error.h"
#include "core/io/atomic_file.h"
#include "core/io/pth.h"
#include "core/io/safetensors.h"

namespace apotnet {

TensorFile read_checkpoint_file(const std::string& path) {
  const std::vector<std::byte> bytes = read_file(path);
  if (looks_like_pth_zip(bytes) || looks_like_pth_legacy(bytes)) return parse_pth(bytes, path);
  if (bytes.size() > 8 && bytes[8] == std::byte{'{'}) return parse_safetensors(bytes, path);
  fail(ErrorCategory::damaged_data, path,
       ": is neither a safetensors file nor a PyTorch checkpoint (legacy stream or zip archive)");
}

}  // namespace apotnet
