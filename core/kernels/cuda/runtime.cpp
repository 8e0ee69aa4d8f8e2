#include "core/kernels/cuda/runtime.h"

#include "core/base/error.h"

namespace apotnet::cuda {

void check(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  cudaGetLastError();  // an error that can be forgotten is forgotten here
  if (error == cudaErrorMemoryAllocation)
    fail(ErrorCategory::unavailable, what, ": the CUDA device has no memory left; use a smaller batch");
  fail(ErrorCategory::internal, what, ": ", cudaGetErrorString(error));
}

Stream::Stream() { check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "making a stream"); }
Stream::~Stream() { cudaStreamDestroy(stream_); }

Event::Event() { check(cudaEventCreateWithFlags(&event_, cudaEventDisableTiming), "making an event"); }
Event::~Event() { cudaEventDestroy(event_); }

Pool::~Pool() { trim(); }

void Pool::trim() {
  for (const auto& [bytes, blocks] : free_)
    for (std::byte* block : blocks) {
      cudaFree(block);
      reserved_ -= bytes;
    }
  free_.clear();
}

DeviceBlock Pool::allocate(size_t bytes, Pool* other) {
  const size_t size = bytes > 0 ? bytes : 1;
  std::byte* data = nullptr;
  if (std::vector<std::byte*>& blocks = free_[size]; blocks.empty()) {
    void* place = nullptr;
    cudaError_t error = cudaMalloc(&place, size);
    if (error == cudaErrorMemoryAllocation) {  // blocks of other sizes may lie unused
      cudaGetLastError();
      ++shortages_;
      trim();
      if (other) other->trim();
      error = cudaMalloc(&place, size);
    }
    check(error, "allocating device memory");
    data = static_cast<std::byte*>(place);
    reserved_ += size;
    ++taken_;
  } else {
    data = blocks.back();
    blocks.pop_back();
  }
  return {data, shared_from_this()};
}

void Pool::release(std::byte* data, size_t bytes) noexcept { free_[bytes > 0 ? bytes : 1].push_back(data); }

Graph& Graph::operator=(Graph&& other) noexcept {
  if (this == &other) return *this;
  reset();
  executable_ = std::exchange(other.executable_, nullptr);
  nodes_ = other.nodes_;
  return *this;
}

void Graph::abandon(const Stream& stream) {
  cudaGraph_t graph = nullptr;
  if (cudaStreamEndCapture(stream.get(), &graph) == cudaSuccess && graph) cudaGraphDestroy(graph);
  cudaGetLastError();
}

Graph Graph::finish(const Stream& stream) {
  cudaGraph_t graph = nullptr;
  check(cudaStreamEndCapture(stream.get(), &graph), "ending a capture");
  Graph result;
  const cudaError_t counted = cudaGraphGetNodes(graph, nullptr, &result.nodes_);
  const cudaError_t made = cudaGraphInstantiate(&result.executable_, graph, 0);
  cudaGraphDestroy(graph);
  check(counted, "counting the nodes of a graph");
  check(made, "making a graph executable");
  return result;
}

void Graph::reset() {
  if (executable_) cudaGraphExecDestroy(executable_);
  executable_ = nullptr;
}

}  // namespace apotnet::cuda
