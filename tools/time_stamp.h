#pragma once

#include <string>

namespace apotnet {

/// The present time, UTC, as in 2026-01-31T12:34:56Z (ISO 8601).
std::string time_stamp();

}  // namespace apotnet
