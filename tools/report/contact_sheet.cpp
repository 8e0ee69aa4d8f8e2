#include "tools/report/contact_sheet.h"

#include <filesystem>
#include <span>

#include "core/base/build_info.h"
#include "core/base/error.h"
#include "core/io/atomic_file.h"
#include "data/resize.h"
#include "tools/fixed.h"
#include "tools/report/chart.h"
#include "tools/report/png.h"
#include "tools/report/style.h"

namespace apotnet {
namespace {

constexpr ImageSize kThumbnail{112, 112};

std::string percent(double probability) { return fixed(100 * probability, 1) + "&nbsp;%"; }

}  // namespace

void ContactSheet::add(const std::string& path, const Image& picture,
                       const std::vector<std::pair<std::string, double>>& top) {
  const Image small = resize_and_crop(picture, kThumbnail.height, kThumbnail);
  const std::string file = escaped(path), name = escaped(std::filesystem::path(path).filename().string());
  figures_ +=
      text("<figure><img width=", small.width, " height=", small.height, " loading=lazy alt='", name, "' title='", file,
           "' src='", data_uri_of_png(png_of_rgb(small.height, small.width, small.pixels)), "'><figcaption>");
  for (size_t i = 0; i < top.size(); ++i)
    figures_ += text(i == 0 ? "<b>" : "<br>", escaped(top[i].first), i == 0 ? "</b> " : " ", percent(top[i].second));
  figures_ += "<br><small>" + name + "</small></figcaption></figure>\n";
  ++count_;
}

void ContactSheet::add_failure(const std::string& message) {
  failures_ += "<p class=bad>" + escaped(message) + "</p>\n";
  ++failed_;
}

std::string ContactSheet::page() const {
  return text(
      "<!doctype html>\n<html lang=en>\n<head>\n<meta charset=utf-8>\n<meta name=viewport "
      "content='width=device-width, initial-scale=1'>\n<title>Classified pictures</title>\n<link rel=icon "
      "href='data:,'>\n<style>",
      kReportStyle, ".pictures img { image-rendering: auto; } .pictures figcaption { overflow-wrap: anywhere; }",
      "</style>\n</head>\n<body>\n<h1>", count_, count_ == 1 ? " picture" : " pictures", "</h1>\n<p>",
      escaped(network_),
      "</p>\n<p class=note>The middle square of each, with the most probable classes.</p>\n<div class=pictures>\n",
      figures_, "</div>\n", failed_ > 0 ? "<h2>Not read</h2>\n" + failures_ : "", "<footer>apotnet ", kVersion,
      "</footer>\n</body>\n</html>\n");
}

void ContactSheet::write(const std::string& path) const {
  const std::string all = page();
  write_file_atomically(path, {std::as_bytes(std::span(all))});
}

}  // namespace apotnet
