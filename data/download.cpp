#include "data/download.h"

#include <curl/curl.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <sys/file.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>

#include "core/base/error.h"

namespace apotnet {
namespace {

namespace fs = std::filesystem;

constexpr long kRangeNotSatisfiable = 416;

// PATH.part, held by this process alone.
class PartFile {
 public:
  explicit PartFile(std::string path) : path_(std::move(path)) {
    descriptor_ = ::open(path_.c_str(), O_CREAT | O_RDWR | O_APPEND | O_CLOEXEC, 0644);
    if (descriptor_ < 0) fail_write();
    if (::flock(descriptor_, LOCK_EX | LOCK_NB) != 0) {
      ::close(descriptor_);
      fail(ErrorCategory::cannot_write, path_, ": another process downloads to it");
    }
  }
  ~PartFile() { ::close(descriptor_); }
  PartFile(const PartFile&) = delete;
  PartFile& operator=(const PartFile&) = delete;

  int64_t size() const { return ::lseek(descriptor_, 0, SEEK_END); }
  void clear() {
    if (::ftruncate(descriptor_, 0) != 0) fail_write();
  }
  /// Whether all bytes could be written; errno says why not.
  bool append(const char* bytes, size_t count) {
    while (count > 0) {
      const ssize_t written = ::write(descriptor_, bytes, count);
      if (written < 0 && errno == EINTR) continue;
      if (written <= 0) return false;
      bytes += written;
      count -= static_cast<size_t>(written);
    }
    return true;
  }
  [[noreturn]] void fail_write(int error = errno) const {
    fail(ErrorCategory::cannot_write, path_, ": ", std::strerror(error));
  }
  /// Gives the file its final name.
  void rename_to(const std::string& name) {
    if (::fsync(descriptor_) != 0 || ::rename(path_.c_str(), name.c_str()) != 0) fail_write();
  }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
  int descriptor_;
};

// Nothing with a user's name in it: in http://127.0.0.1:80@elsewhere/ the server is elsewhere.
bool is_loopback(const std::string& url) {
  return (url.starts_with("http://127.0.0.1:") || url.starts_with("http://localhost:")) &&
         url.find('@') == std::string::npos;
}

struct Transfer {
  PartFile& part;
  const WebFile& file;
  const DownloadOptions& options;
  int64_t begin = 0;  // bytes that were there before
  int write_error = 0;
  bool too_large = false;
};

size_t on_data(char* bytes, size_t size, size_t count, void* user) {
  Transfer& transfer = *static_cast<Transfer*>(user);
  transfer.too_large = transfer.part.size() + static_cast<int64_t>(size * count) > transfer.file.most_bytes;
  if (transfer.too_large) return 0;
  if (transfer.part.append(bytes, size * count)) return size * count;
  transfer.write_error = errno;
  return 0;
}

int on_progress(void* user, curl_off_t all, curl_off_t done, curl_off_t, curl_off_t) {
  const Transfer& transfer = *static_cast<Transfer*>(user);
  if (transfer.options.progress) transfer.options.progress(transfer.begin + done, all > 0 ? transfer.begin + all : 0);
  return 0;
}

using Session = std::unique_ptr<CURL, decltype(&curl_easy_cleanup)>;

Session make_session() {
  static const CURLcode ready = curl_global_init(CURL_GLOBAL_DEFAULT);
  Session session(ready == CURLE_OK ? curl_easy_init() : nullptr, curl_easy_cleanup);
  if (!session) fail(ErrorCategory::unavailable, "libcurl cannot be started");
  return session;
}

// What libcurl answers to one request for the rest of the file, its words for it, and the server's status.
struct Answer {
  CURLcode code;
  std::string message;
  long status = 0;
};

Answer request(const std::string& url, Transfer& transfer) {
  const Session session = make_session();
  CURL* curl = session.get();
  std::array<char, CURL_ERROR_SIZE> message{};
  const char* protocols = is_loopback(url) ? "http" : "https";
  if (is_loopback(url)) curl_easy_setopt(curl, CURLOPT_PROXY, "");
  curl_easy_setopt(curl, CURLOPT_URL, url.c_str());
  curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, protocols);
  curl_easy_setopt(curl, CURLOPT_REDIR_PROTOCOLS_STR, protocols);
  curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 1L);
  curl_easy_setopt(curl, CURLOPT_MAXREDIRS, 5L);
  curl_easy_setopt(curl, CURLOPT_FAILONERROR, 1L);
  curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, 20L);
  curl_easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, 1L);
  curl_easy_setopt(curl, CURLOPT_LOW_SPEED_TIME, static_cast<long>(transfer.options.stall_seconds));
  curl_easy_setopt(curl, CURLOPT_RESUME_FROM_LARGE, static_cast<curl_off_t>(transfer.begin));
  curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_data);
  curl_easy_setopt(curl, CURLOPT_WRITEDATA, &transfer);
  curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
  curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, on_progress);
  curl_easy_setopt(curl, CURLOPT_XFERINFODATA, &transfer);
  curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, message.data());
  curl_easy_setopt(curl, CURLOPT_USERAGENT, "apotnet");
  const CURLcode code = curl_easy_perform(curl);
  Answer answer{code, message[0] ? message.data() : curl_easy_strerror(code)};
  curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &answer.status);
  return answer;
}

struct Outcome {
  bool done = false, other_file = false;
  std::string message;
};

// From one address: the rest of what is there, or all of it anew where the rest does not fit.
Outcome fetch_from(const std::string& url, PartFile& part, const WebFile& file, const DownloadOptions& options) {
  for (;;) {
    Transfer transfer{.part = part, .file = file, .options = options, .begin = part.size()};
    const Answer answer = request(url, transfer);
    if (transfer.write_error) part.fail_write(transfer.write_error);
    if (transfer.too_large) {
      part.clear();
      return {.other_file = true, .message = url + text(": has more than ", file.most_bytes, " bytes")};
    }
    const bool continued = transfer.begin > 0;
    if (answer.code == CURLE_OK) {
      const std::string found = sha256_of_file(part.path());
      if (found == file.sha256) return {.done = true, .message = {}};
      part.clear();
      if (!continued) return {.other_file = true, .message = url + ": is another file, its SHA-256 is " + found};
    } else if (continued && (answer.code == CURLE_RANGE_ERROR || answer.status == kRangeNotSatisfiable)) {
      part.clear();  // a server that cannot go on, or has less than is there
    } else {
      return {.message = url + ": " + answer.message};
    }
  }
}

}  // namespace

std::string sha256_of_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) fail(ErrorCategory::input_missing, path, ": cannot be opened");
  const std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context(EVP_MD_CTX_new(), EVP_MD_CTX_free);
  require(context && EVP_DigestInit_ex(context.get(), EVP_sha256(), nullptr) == 1, "SHA-256 cannot be started");
  std::vector<char> block(1 << 20);
  while (in) {
    in.read(block.data(), static_cast<std::streamsize>(block.size()));
    require(EVP_DigestUpdate(context.get(), block.data(), static_cast<size_t>(in.gcount())) == 1, "SHA-256 failed");
  }
  if (!in.eof()) fail(ErrorCategory::damaged_data, path, ": cannot be read");
  std::array<unsigned char, 32> digest{};
  require(EVP_DigestFinal_ex(context.get(), digest.data(), nullptr) == 1, "SHA-256 failed");
  std::string hex;
  for (const unsigned char byte : digest)
    for (const int half : {byte >> 4, byte & 15}) hex += "0123456789abcdef"[half];
  return hex;
}

void download(const WebFile& file, const std::string& path, const DownloadOptions& options) {
  for (const std::string& url : file.urls)
    if (!url.starts_with("https://") && !is_loopback(url))
      fail(ErrorCategory::usage, url, ": is no address to download from; give one that begins with https://");
  PartFile part(path + ".part");
  // A download that ended between its last byte and its name.
  if (part.size() > 0 && sha256_of_file(part.path()) == file.sha256) return part.rename_to(path);
  std::string messages;
  bool other_file = false;
  for (const std::string& url : file.urls) {
    const Outcome outcome = fetch_from(url, part, file, options);
    if (outcome.done) return part.rename_to(path);
    messages += (messages.empty() ? "" : "; ") + outcome.message;
    other_file |= outcome.other_file;
  }
  const int64_t kept = part.size();
  if (kept == 0) {
    std::error_code ignored;
    fs::remove(part.path(), ignored);
  }
  fail(other_file ? ErrorCategory::damaged_data : ErrorCategory::unavailable, "cannot download ",
       fs::path(path).filename().string(), ": ", messages,
       kept > 0 ? text("; ", kept, " bytes are kept, the same command goes on from there") : "");
}

std::string curl_library_version() { return curl_version_info(CURLVERSION_NOW)->version; }

std::string sha256_library_version() { return OpenSSL_version(OPENSSL_VERSION_STRING); }

}  // namespace apotnet
