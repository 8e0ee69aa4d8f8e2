#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "core/io/tensor_file.h"

namespace apotnet {

/// The state dict of a PyTorch checkpoint (.pth, .pth.tar), read as data: nothing in the file is ever run.
///
/// Both forms are read: the legacy stream (five pickles, then raw storages) and the zip archive of PyTorch 1.6 and
/// later. The state dict is the root's entry "state_dict", "model_state_dict", "model" or "net", or the root itself; a
/// leading "module." of the names is dropped. Numbers and texts of the root become metadata; optimizer state is left
/// out. Strided tensors become dense, half and bfloat16 become f32, bool becomes u8.
///
/// Error(damaged_data) with one line that says what is wrong and where. No single allocation
/// exceeds twice the file. `path` is for the messages.
TensorFile parse_pth(std::span<const std::byte> bytes, const std::string& path);

/// Whether a file that begins like this is one of the two forms.
bool looks_like_pth_zip(std::span<const std::byte> bytes);
bool looks_like_pth_legacy(std::span<const std::byte> bytes);

}  // namespace apotnet
