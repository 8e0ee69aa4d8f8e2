#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace apotnet::test {

/// A web server on this machine that serves one file, well or badly.
class HttpServer {
 public:
  enum class Habit {
    whole,      ///< takes ranges, as servers do
    no_ranges,  ///< always begins at the beginning
    cuts,       ///< closes the connection after `limit` bytes of an answer
    stalls,     ///< sends `limit` bytes, then nothing more
    missing,    ///< 404
    elsewhere,  ///< redirects to `location`
    endless     ///< sends the file again and again, telling no length
  };

  explicit HttpServer(std::string content) : content_(std::move(content)) {
    listener_ = ::socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    ::bind(listener_, reinterpret_cast<sockaddr*>(&address), size);
    ::listen(listener_, 8);
    ::getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size);
    port_ = ntohs(address.sin_port);
    thread_ = std::thread([this] { serve(); });
  }
  ~HttpServer() {
    done_ = true;
    thread_.join();
    ::close(listener_);
  }
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  std::string url(const std::string& name = "file.tar.gz") const {
    return "http://127.0.0.1:" + std::to_string(port_) + "/" + name;
  }
  void behave(Habit habit, size_t limit = 0, const std::string& location = "") {
    const std::lock_guard lock(mutex_);
    habit_ = habit;
    limit_ = limit;
    location_ = location;
  }
  /// The first byte that each request asked for.
  std::vector<size_t> asked() const {
    const std::lock_guard lock(mutex_);
    return asked_;
  }

 private:
  void serve() {
    while (!done_) {
      pollfd waiting{listener_, POLLIN, 0};
      if (::poll(&waiting, 1, 20) != 1) continue;
      const int connection = ::accept(listener_, nullptr, nullptr);
      answer(connection);
      ::close(connection);
    }
  }

  void answer(int connection) {
    std::string request;
    char block[4096];
    while (request.find("\r\n\r\n") == std::string::npos) {
      const ssize_t got = ::recv(connection, block, sizeof block, 0);
      if (got <= 0) return;
      request.append(block, static_cast<size_t>(got));
    }
    size_t begin = 0;
    if (const size_t at = request.find("Range: bytes="); at != std::string::npos)
      begin = std::stoul(request.substr(at + 13));
    const std::lock_guard lock(mutex_);
    asked_.push_back(begin);
    if (habit_ == Habit::missing) return send(connection, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
    if (habit_ == Habit::elsewhere)
      return send(connection, "HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: " + location_ + "\r\n\r\n");
    if (habit_ == Habit::endless) {
      send(connection, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n");
      for (int i = 0; i < 1000; ++i) send(connection, content_);
      return;
    }
    if (habit_ == Habit::no_ranges) begin = 0;
    if (begin >= content_.size() && begin > 0)
      return send(connection, "HTTP/1.1 416 Range Not Satisfiable\r\nContent-Length: 0\r\n\r\n");
    const std::string body = content_.substr(begin);
    std::string head = begin > 0
                           ? "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes " + std::to_string(begin) + "-" +
                                 std::to_string(content_.size() - 1) + "/" + std::to_string(content_.size()) + "\r\n"
                           : "HTTP/1.1 200 OK\r\n";
    head += "Content-Length: " + std::to_string(body.size()) + "\r\nConnection: close\r\n\r\n";
    const bool partly = habit_ == Habit::cuts || habit_ == Habit::stalls;
    send(connection, head + (partly ? body.substr(0, limit_) : body));
    for (int i = 0; habit_ == Habit::stalls && i < 1500 && !done_; ++i) {
      pollfd hung_up{connection, POLLIN, 0};
      if (::poll(&hung_up, 1, 20) != 0) return;  // the other side gave up
    }
  }

  static void send(int connection, const std::string& bytes) {
    for (size_t sent = 0; sent < bytes.size();) {
      const ssize_t count = ::send(connection, bytes.data() + sent, bytes.size() - sent, MSG_NOSIGNAL);
      if (count <= 0) return;
      sent += static_cast<size_t>(count);
    }
  }

  std::string content_, location_;
  Habit habit_ = Habit::whole;
  size_t limit_ = 0;
  std::vector<size_t> asked_;
  mutable std::mutex mutex_;
  int listener_ = -1, port_ = 0;
  std::atomic<bool> done_ = false;
  std::thread thread_;
};

}  // namespace apotnet::test
