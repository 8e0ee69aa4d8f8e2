#include "core/io/atomic_file.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <functional>

#include "core/base/error.h"
#include "core/io/crc32c.h"
#include "core/io/printable.h"
#include "tests/support/files.h"

using namespace apotnet;
using namespace apotnet::test;

namespace {

std::span<const std::byte> bytes_of(std::string_view content) { return std::as_bytes(std::span(content)); }

size_t entries_in(const TemporaryFolder& folder) {
  return static_cast<size_t>(std::distance(std::filesystem::directory_iterator(folder.path()), {}));
}

ErrorCategory category_of(const std::function<void()>& work) {
  try {
    work();
  } catch (const Error& error) {
    CHECK(std::string(error.what()).find('\n') == std::string::npos);
    return error.category();
  }
  FAIL("no error");
  return {};
}

}  // namespace

TEST_CASE("a file is written whole, read whole and nothing else is left") {
  const TemporaryFolder folder;
  const std::string path = folder / "a";
  write_file_atomically(path, {bytes_of("one "), {}, bytes_of("two")});
  CHECK(read_text(path) == "one two");
  write_file_atomically(path, {});
  CHECK(read_file(path).empty());
  CHECK(entries_in(folder) == 1);
}

TEST_CASE("a symbolic link stays and what it leads to is written") {
  const TemporaryFolder folder;
  std::filesystem::create_directory(folder / "disk");
  std::filesystem::create_symlink("disk/a", folder / "near");  // relative to where it stands
  std::filesystem::create_symlink(folder / "near", folder / "far");
  for (const char* content : {"1", "2"}) {  // a file that is new, and one that is there
    write_file_atomically(folder / "far", {bytes_of(content)});
    CHECK(read_text(folder / "disk/a") == content);
  }
  CHECK(std::filesystem::is_symlink(folder / "near"));
  CHECK(std::filesystem::is_symlink(folder / "far"));

  std::filesystem::create_symlink("ring", folder / "ring");
  CHECK(category_of([&] { write_file_atomically(folder / "ring", {bytes_of("1")}); }) == ErrorCategory::cannot_write);
  CHECK(category_of([&] { write_file_atomically(folder / "disk", {bytes_of("1")}); }) == ErrorCategory::cannot_write);
  CHECK(std::filesystem::is_directory(folder / "disk"));
  CHECK(entries_in(folder) == 4);
}

TEST_CASE("a pipe is written to as it is, and is no place for a file") {
  const TemporaryFolder folder;
  const std::string path = folder / "pipe";
  REQUIRE(::mkfifo(path.c_str(), 0600) == 0);
  const int reader = ::open(path.c_str(), O_RDONLY | O_NONBLOCK);
  REQUIRE(reader >= 0);
  write_file_atomically(path, {bytes_of("one "), bytes_of("two")});
  char content[16];
  REQUIRE(::read(reader, content, sizeof content) == 7);
  CHECK(std::string_view(content, 7) == "one two");
  ::close(reader);
  CHECK(category_of([&] { replaceable_file(path); }) == ErrorCategory::cannot_write);
  CHECK(std::filesystem::is_fifo(path));
  CHECK(entries_in(folder) == 1);
}

TEST_CASE("replace_keeping_former keeps what stood there") {
  const TemporaryFolder folder;
  const std::string path = folder / "last", former = folder / "last.prev";
  for (const char* content : {"1", "2", "3"}) replace_keeping_former(path, former, {bytes_of(content)});
  CHECK(read_text(path) == "3");
  CHECK(read_text(former) == "2");
  CHECK(entries_in(folder) == 2);

  // A crash between the two renames leaves both names on one file.
  std::filesystem::remove(former);
  std::filesystem::create_hard_link(path, former);
  replace_keeping_former(path, former, {bytes_of("4")});
  CHECK(read_text(path) == "4");
  CHECK(read_text(former) == "3");
  CHECK(entries_in(folder) == 2);
}

TEST_CASE("what stood behind a symbolic link is kept as a file, not as the link") {
  const TemporaryFolder folder;
  std::filesystem::create_directory(folder / "disk");
  write_text(folder / "disk/last", "1");
  std::filesystem::create_symlink("disk/last", folder / "last");
  replace_keeping_former(folder / "last", folder / "last.prev", {bytes_of("2")});
  CHECK(std::filesystem::is_symlink(folder / "last"));
  CHECK(read_text(folder / "disk/last") == "2");
  CHECK_FALSE(std::filesystem::is_symlink(folder / "last.prev"));
  CHECK(read_text(folder / "last.prev") == "1");

  keep_under_name(folder / "last", folder / "kept");
  write_file_atomically(folder / "last", {bytes_of("3")});
  CHECK(read_text(folder / "kept") == "2");
  CHECK(read_text(folder / "disk/last") == "3");
  CHECK(entries_in(folder) == 4);
}

TEST_CASE("a pipe whose reader goes away is an error, and stdout is no file to replace") {
  const TemporaryFolder folder;
  const std::string path = folder / "pipe";
  REQUIRE(::mkfifo(path.c_str(), 0600) == 0);
  const pid_t child = ::fork();
  if (child == 0) {
    const int reader = ::open(path.c_str(), O_RDONLY);
    char first[1];
    std::_Exit(::read(reader, first, 1) == 1 ? 0 : 1);
  }
  const std::vector<std::byte> more_than_a_pipe_holds(4 << 20);
  CHECK(category_of([&] { write_file_atomically(path, {more_than_a_pipe_holds}); }) == ErrorCategory::cannot_write);
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  CHECK(status == 0);

  const int own = ::dup(STDOUT_FILENO), out = ::open((folder / "out").c_str(), O_WRONLY | O_CREAT, 0600);
  std::fflush(stdout);
  ::dup2(out, STDOUT_FILENO);
  const ErrorCategory found = category_of([&] { write_file_atomically(folder / "out", {bytes_of("1")}); });
  ::dup2(own, STDOUT_FILENO);
  ::close(own);
  ::close(out);
  CHECK(found == ErrorCategory::cannot_write);
}

TEST_CASE("a file under a second name keeps its content when the first name moves on") {
  const TemporaryFolder folder;
  write_file_atomically(folder / "best", {bytes_of("1")});
  keep_under_name(folder / "best", folder / "kept");
  keep_under_name(folder / "best", folder / "kept");
  write_file_atomically(folder / "best", {bytes_of("2")});
  CHECK(read_text(folder / "kept") == "1");
  keep_under_name(folder / "best", folder / "kept");
  CHECK(read_text(folder / "kept") == "2");
  CHECK(entries_in(folder) == 2);
  CHECK(category_of([&] { keep_under_name(folder / "best", folder / "none/kept"); }) == ErrorCategory::cannot_write);
}

TEST_CASE("an addition that does not fit is taken back") {
  const TemporaryFolder folder;
  append_to_file(folder / "log", bytes_of("one\n"));
  append_to_file(folder / "log", bytes_of("two\n"));
  CHECK(read_text(folder / "log") == "one\ntwo\n");
  CHECK(category_of([&] { append_to_file(folder / "none/log", bytes_of("x")); }) == ErrorCategory::cannot_write);

  // The limit counts for this process alone, so it is lowered in a child.
  const pid_t child = ::fork();
  if (child == 0) {
    std::signal(SIGXFSZ, SIG_IGN);
    const rlimit ten{10, 10};
    ::setrlimit(RLIMIT_FSIZE, &ten);
    try {
      append_to_file(folder / "log", bytes_of("three\n"));
    } catch (const Error& error) {
      std::_Exit(error.exit_code());
    }
    std::_Exit(0);
  }
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  CHECK(WEXITSTATUS(status) == static_cast<int>(ErrorCategory::cannot_write));
  CHECK(read_text(folder / "log") == "one\ntwo\n");
}

TEST_CASE("file errors have their categories and leave no temporary file") {
  const TemporaryFolder folder;
  CHECK(category_of([&] { read_file(folder / "none"); }) == ErrorCategory::input_missing);
  CHECK(category_of([&] { read_file(folder.path().string()); }) == ErrorCategory::damaged_data);
  CHECK(category_of([&] { write_file_atomically(folder / "none/a", {}); }) == ErrorCategory::cannot_write);
  std::filesystem::create_directories(folder / "taken/inside");
  CHECK(category_of([&] { write_file_atomically(folder / "taken", {}); }) == ErrorCategory::cannot_write);
  write_text(folder / "here", "x");
  CHECK(category_of([&] { replace_keeping_former(folder / "here", folder / "taken", {}); }) ==
        ErrorCategory::cannot_write);
  CHECK(read_text(folder / "here") == "x");
  CHECK(entries_in(folder) == 2);
  if (std::filesystem::exists("/dev/full"))
    CHECK(category_of([&] { write_file_atomically("/dev/full/a", {}); }) == ErrorCategory::cannot_write);
}

TEST_CASE("crc32c of the check string") {
  CHECK(crc32c(bytes_of("123456789")) == 0xE3069283u);
  CHECK(crc32c({}) == 0);
}

TEST_CASE("text of a file is shown on one line, and UTF-8 is told from other bytes") {
  CHECK(printable("a\nb\x80") == "\"a\\x0ab\\x80\"");
  CHECK(printable(std::string(100, 'x')).size() == 85);
  for (const char* good : {"", "plain", "\xC3\xA4", "\xE2\x82\xAC", "\xF0\x9F\x98\x80", "\xF4\x8F\xBF\xBF"})
    CHECK(is_utf8(good));
  for (const char* bad :
       {"\x80", "\xC3", "\xC0\x80", "\xE0\x80\x80", "\xED\xA0\x80", "\xF4\x90\x80\x80", "\xFF", "\xC3x"})
    CHECK_FALSE(is_utf8(bad));
}
