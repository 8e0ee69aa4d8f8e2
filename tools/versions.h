#pragma once

#include <nlohmann/json_fwd.hpp>

namespace apotnet {

/// Versions of the program, its compiler and everything linked.
nlohmann::ordered_json versions();

}  // namespace apotnet
