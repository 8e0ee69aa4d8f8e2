#include "tools/terminal.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <string_view>

namespace apotnet {

std::string Terminal::red(const std::string& text) const { return color ? "\033[1;31m" + text + "\033[0m" : text; }
std::string Terminal::faint(const std::string& text) const { return color ? "\033[2m" + text + "\033[0m" : text; }

namespace {

int columns_of(int descriptor) {
  winsize size{};
  return ioctl(descriptor, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

}  // namespace

Terminal stderr_terminal(const std::string& color) {
  const char* term = std::getenv("TERM");
  const char* no_color = std::getenv("NO_COLOR");
  Terminal terminal;
  terminal.interactive = isatty(STDERR_FILENO) && term && std::string_view(term) != "dumb";
  terminal.color = color == "always" || (color == "auto" && terminal.interactive && !(no_color && *no_color));
  terminal.columns = columns_of(STDERR_FILENO);
  return terminal;
}

int stdout_columns() { return columns_of(STDOUT_FILENO); }

std::string duration(double seconds) {
  if (!(seconds >= 0 && seconds < 365.0 * 86400)) return "-:--";
  const auto whole = static_cast<long long>(std::llround(seconds));
  char text[32];
  if (whole >= 3600)
    std::snprintf(text, sizeof text, "%lld:%02lld:%02lld", whole / 3600, whole / 60 % 60, whole % 60);
  else
    std::snprintf(text, sizeof text, "%lld:%02lld", whole / 60, whole % 60);
  return text;
}

}  // namespace apotnet
