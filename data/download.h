#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace apotnet {

/// A file on the web and how to know it.
struct WebFile {
  std::vector<std::string> urls;          ///< the same file, tried in order; https, or http on this very machine
  std::string sha256;                     ///< 64 hexadecimal digits, lower case
  int64_t most_bytes = int64_t{1} << 30;  ///< a server that sends more is cut off
};

struct DownloadOptions {
  /// Called every now and then with the bytes that are there and all bytes, 0 where the server does not tell.
  std::function<void(int64_t done, int64_t all)> progress{};
  int stall_seconds = 30;  ///< without data for so long, a connection is given up
};

/// Downloads `file` to `path`, by way of PATH.part: a download that was cut off goes on where it ended, with the same
/// or another of the addresses. The file appears under its name only when its SHA-256 is right. Error(unavailable) when
/// no address gave it, Error(damaged_data) when what came is another file, Error(cannot_write), Error(usage) for an
/// address that is not https.
void download(const WebFile& file, const std::string& path, const DownloadOptions& options = {});

/// SHA-256 of a file, 64 hexadecimal digits. Error(input_missing), Error(damaged_data).
std::string sha256_of_file(const std::string& path);

/// "7.88.1" and "3.0.19", of the libraries that download and that compute the SHA-256.
std::string curl_library_version();
std::string sha256_library_version();

}  // namespace apotnet
