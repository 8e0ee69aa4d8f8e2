#include "tools/versions.h"

#include <dnnl.h>
#include <zlib.h>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "core/base/build_info.h"
#include "core/base/error.h"
#include "data/archive.h"
#include "data/download.h"
#include "data/image.h"
#include "tools/revision.h"

namespace apotnet {
namespace {

std::string onednn_version() {
  const dnnl_version_t* v = dnnl_version();
  return text(v->major, ".", v->minor, ".", v->patch);
}

std::string json_version() {
  return text(NLOHMANN_JSON_VERSION_MAJOR, ".", NLOHMANN_JSON_VERSION_MINOR, ".", NLOHMANN_JSON_VERSION_PATCH);
}

}  // namespace

nlohmann::ordered_json versions() {
  return {{"apotnet", kVersion},
          {"revision", kRevision},
          {"compiler", kCompiler},
          {"build", kBuildType},
          {"cuda", *kCudaVersion ? kCudaVersion : "not built"},
          {"onednn", onednn_version()},
          {"zlib", zlibVersion()},
          {"libjpeg_turbo", jpeg_library_version()},
          {"libcurl", curl_library_version()},
          {"libarchive", archive_library_version()},
          {"openssl", sha256_library_version()},
          {"nlohmann_json", json_version()},
          {"cli11", CLI11_VERSION}};
}

}  // namespace apotnet
