#pragma once

#include <string>

namespace apotnet {

/// What an output stream is connected to.
struct Terminal {
  bool interactive = false;  ///< lines can be redrawn
  bool color = false;
  int columns = 80;

  /// `text` in bold red, where there is color.
  std::string red(const std::string& text) const;
  /// The same, faint.
  std::string faint(const std::string& text) const;
};

/// Of stderr. `color` is auto, always or never; auto means a terminal that is not dumb, unless NO_COLOR is set
/// (no-color.org).
Terminal stderr_terminal(const std::string& color);

/// Of stdout where that is a terminal, else 80.
int stdout_columns();

/// "0:07", "12:34", "1:02:03"; "-:--" for what is not known (negative, infinite or beyond a year).
std::string duration(double seconds);

}  // namespace apotnet
