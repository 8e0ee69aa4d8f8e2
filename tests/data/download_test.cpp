// Downloads from a server of our own on this machine: no test needs the internet.
#include "data/download.h"

#include <doctest/doctest.h>
#include <sys/resource.h>

#include <csignal>
#include <filesystem>

#include "core/base/error.h"
#include "tests/support/backends.h"
#include "tests/support/files.h"
#include "tests/support/http_server.h"

using namespace apotnet;
using namespace apotnet::test;
using Habit = HttpServer::Habit;

namespace {

std::string random_bytes(size_t count) {
  Philox random = random_numbers(161);
  std::string bytes(count, '\0');
  for (char& byte : bytes) byte = static_cast<char>(random.below(256));
  return bytes;
}

const std::string kContent = random_bytes(300'000);

std::string sha256_of(const std::string& content) {
  const TemporaryFolder folder;
  write_text(folder / "x", content);
  return sha256_of_file(folder / "x");
}

// The error of a download, or nothing.
std::string error_of(const WebFile& file, const std::string& path, ErrorCategory category, int stall_seconds = 30) {
  try {
    download(file, path, {.stall_seconds = stall_seconds});
    return "";
  } catch (const Error& error) {
    CHECK(error.category() == category);
    return error.what();
  }
}

struct Place {
  TemporaryFolder folder;
  std::string path = folder / "file.tar.gz", part = path + ".part";
  bool arrived() const { return read_text(path) == kContent && !std::filesystem::exists(part); }
  bool nothing() const { return std::filesystem::is_empty(folder.path()); }
};

}  // namespace

TEST_CASE("download: SHA-256 of known texts") {
  CHECK(sha256_of("") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  CHECK(sha256_of("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  CHECK(sha256_of(std::string(1'000'000, 'a')) == "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST_CASE("download: a whole file arrives under its name, with progress") {
  HttpServer server(kContent);
  const Place place;
  int64_t last = 0, all = 0;
  download({.urls = {server.url()}, .sha256 = sha256_of(kContent)}, place.path,
           {.progress = [&](int64_t done, int64_t of) { last = done, all = of; }});
  CHECK(place.arrived());
  CHECK(last == 300'000);
  CHECK(all == 300'000);
  CHECK(server.asked() == std::vector<size_t>{0});
}

TEST_CASE("download: what was cut off goes on where it ended") {
  HttpServer server(kContent);
  const Place place;
  const WebFile file{.urls = {server.url()}, .sha256 = sha256_of(kContent)};
  server.behave(Habit::cuts, 100'000);
  const std::string error = error_of(file, place.path, ErrorCategory::unavailable);
  CHECK_MESSAGE(error.ends_with("; 100000 bytes are kept, the same command goes on from there"), error);
  CHECK(read_text(place.part) == kContent.substr(0, 100'000));
  error_of(file, place.path, ErrorCategory::unavailable);
  CHECK(std::filesystem::file_size(place.part) == 200'000);
  // A server that is out of order for a while costs nothing of what is there.
  server.behave(Habit::missing);
  error_of(file, place.path, ErrorCategory::unavailable);
  CHECK(std::filesystem::file_size(place.part) == 200'000);
  server.behave(Habit::whole);
  download(file, place.path);
  CHECK(place.arrived());
  CHECK(server.asked() == std::vector<size_t>{0, 100'000, 200'000, 200'000});
}

TEST_CASE("download: a server without ranges, or a rest that does not fit, begins anew") {
  const WebFile known{.urls = {}, .sha256 = sha256_of(kContent)};
  for (const std::string& rest : {kContent.substr(0, 50'000), std::string(50'000, 'x'), kContent + "more"})
    for (const Habit habit : {Habit::whole, Habit::no_ranges}) {
      HttpServer server(kContent);
      server.behave(habit);
      const Place place;
      write_text(place.part, rest);
      WebFile file = known;
      file.urls = {server.url()};
      download(file, place.path);
      CHECK(place.arrived());
    }
  // All bytes were there, only the name was missing: nothing is asked of the server.
  HttpServer server(kContent);
  const Place place;
  write_text(place.part, kContent);
  WebFile file = known;
  file.urls = {server.url()};
  download(file, place.path);
  CHECK(place.arrived());
  CHECK(server.asked().empty());
}

TEST_CASE("download: mirrors are tried in order, and one goes on where another was cut off") {
  HttpServer gone(kContent), cut(kContent), other(random_bytes(10)), good(kContent);
  gone.behave(Habit::missing);
  cut.behave(Habit::cuts, 120'000);
  const Place place;
  download({.urls = {gone.url(), cut.url(), good.url()}, .sha256 = sha256_of(kContent)}, place.path);
  CHECK(place.arrived());
  CHECK(good.asked() == std::vector<size_t>{120'000});

  const Place second;
  download({.urls = {other.url(), good.url()}, .sha256 = sha256_of(kContent)}, second.path);
  CHECK(second.arrived());
}

TEST_CASE("download: another file, no file, too large a file leave nothing behind") {
  HttpServer server(kContent);
  const Place place;
  std::string wrong = sha256_of(kContent);
  wrong[5] = wrong[5] == '0' ? '1' : '0';
  std::string error = error_of({.urls = {server.url()}, .sha256 = wrong}, place.path, ErrorCategory::damaged_data);
  CHECK_MESSAGE(error.find("is another file, its SHA-256 is " + sha256_of(kContent)) != std::string::npos, error);
  CHECK(place.nothing());
  error = error_of({.urls = {server.url()}, .sha256 = wrong, .most_bytes = 299'999}, place.path,
                   ErrorCategory::damaged_data);
  CHECK_MESSAGE(error.find("more than 299999 bytes") != std::string::npos, error);
  CHECK(place.nothing());
  server.behave(Habit::endless);
  error = error_of({.urls = {server.url()}, .sha256 = wrong, .most_bytes = 2'000'000}, place.path,
                   ErrorCategory::damaged_data);
  CHECK_MESSAGE(error.find("more than 2000000 bytes") != std::string::npos, error);
  server.behave(Habit::missing);
  error = error_of({.urls = {server.url()}, .sha256 = wrong}, place.path, ErrorCategory::unavailable);
  CHECK_MESSAGE(error.find("404") != std::string::npos, error);
  CHECK(place.nothing());
  error = error_of({.urls = {"http://127.0.0.1:1/x"}, .sha256 = wrong}, place.path, ErrorCategory::unavailable);
  CHECK_MESSAGE(error.find("cannot download file.tar.gz: http://127.0.0.1:1/x: ") != std::string::npos, error);
  CHECK(place.nothing());
}

TEST_CASE("download: a stalled connection is given up and its bytes are kept") {
  HttpServer server(kContent);
  server.behave(Habit::stalls, 70'000);
  const Place place;
  const WebFile file{.urls = {server.url()}, .sha256 = sha256_of(kContent)};
  const std::string error = error_of(file, place.path, ErrorCategory::unavailable, 1);
  CHECK_MESSAGE(error.find("too slow") != std::string::npos, error);
  CHECK_MESSAGE(error.find("70000 bytes are kept") != std::string::npos, error);
  server.behave(Habit::whole);
  download(file, place.path);
  CHECK(place.arrived());
}

TEST_CASE("download: only https, and no way around it") {
  const Place place;
  for (const char* url : {"http://example.org/x", "http://127.0.0.1:80@example.org/x", "ftp://example.org/x",
                          "file:///etc/passwd", "x", ""})
    CHECK(error_of({.urls = {url}, .sha256 = {}}, place.path, ErrorCategory::usage).find("https://") !=
          std::string::npos);
  CHECK(place.nothing());
  // Redirects neither leave http for files nor go on for ever.
  HttpServer server(kContent);
  for (const std::string& target :
       {std::string("file:///etc/passwd"), std::string("ftp://127.0.0.1/x"), server.url()}) {
    server.behave(Habit::elsewhere, 0, target);
    CHECK(error_of({.urls = {server.url()}, .sha256 = sha256_of(kContent)}, place.path, ErrorCategory::unavailable) !=
          "");
  }
  CHECK(place.nothing());
  HttpServer second(kContent);
  server.behave(Habit::elsewhere, 0, second.url("moved"));
  download({.urls = {server.url()}, .sha256 = sha256_of(kContent)}, place.path);
  CHECK(place.arrived());
}

TEST_CASE("download: a full disk and a folder that is not there are one line each") {
  HttpServer server(kContent);
  const Place place;
  const WebFile file{.urls = {server.url()}, .sha256 = sha256_of(kContent)};
  CHECK(error_of(file, "/proc/none/file", ErrorCategory::cannot_write).starts_with("/proc/none/file.part: "));
  rlimit former{};
  getrlimit(RLIMIT_FSIZE, &former);
  const auto former_action = std::signal(SIGXFSZ, SIG_IGN);
  const rlimit small{150'000, former.rlim_max};
  setrlimit(RLIMIT_FSIZE, &small);
  const std::string error = error_of(file, place.path, ErrorCategory::cannot_write);
  setrlimit(RLIMIT_FSIZE, &former);
  std::signal(SIGXFSZ, former_action);
  CHECK_MESSAGE(error.starts_with(place.part + ": "), error);
  CHECK(!std::filesystem::exists(place.path));
  download(file, place.path);
  CHECK(place.arrived());
}
