#pragma once

#include <cstdint>
#include <functional>

namespace apotnet {

/// Threads that parallel_for uses, the caller included; at least 1. Set it before the first parallel work.
void set_thread_count(int threads);
int thread_count();

/// Calls body(i) once for every i in [0, chunks) on up to thread_count() threads and returns when all are done.
/// Cut the work into chunks by its size, never by the thread count, and combine results in chunk order: then the
/// bits do not depend on the number of threads. A call from inside a body runs serially. When bodies throw, the
/// exception of the smallest i is rethrown.
void parallel_for(int64_t chunks, const std::function<void(int64_t)>& body);

/// parallel_for over [0, total) in ranges of `grain` items: body(begin, end).
void parallel_ranges(int64_t total, int64_t grain, const std::function<void(int64_t, int64_t)>& body);

}  // namespace apotnet
