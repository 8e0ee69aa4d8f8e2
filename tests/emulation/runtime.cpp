// The CUDA runtime by name: what the production code links against in the emulation instead of libcudart.
#include "tests/emulation/runtime.h"

#include <cuda_runtime_api.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <deque>
#include <map>
#include <memory>
#include <set>
#include <utility>

#include "tests/emulation/block.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(place, bytes) static_cast<void>(place)
#define ASAN_UNPOISON_MEMORY_REGION(place, bytes) static_cast<void>(place)
#endif

struct CUevent_st {
  int64_t recorded = 0, completed = 0;  // how often; a wait is for the last record before it
};

namespace {

struct Item {
  enum class Kind { work, record, wait } kind = Kind::work;
  std::string name;
  std::function<void()> run;
  std::shared_ptr<CUevent_st> event;
  int64_t count = 0;
};

}  // namespace

struct CUgraph_st {
  std::vector<Item> nodes;
};

struct CUgraphExec_st {
  CUgraph_st graph;
};

struct CUstream_st {
  std::deque<Item> queue;
  std::unique_ptr<CUgraph_st> captured;  // while it captures
  bool capture_broken = false;
};

namespace {

struct Runtime {
  std::map<const std::byte*, size_t> device, pinned;
  std::vector<std::unique_ptr<CUstream_st>> streams;
  std::map<cudaEvent_t, std::shared_ptr<CUevent_st>> events;
  size_t allocations = 0;
  int device_count = 1, driver_version = CUDART_VERSION, compute_major = 9, multiprocessors = 4;
  bool idle = false;
  size_t memory_left = SIZE_MAX;
  std::set<const std::byte*> reserved;  // of the device memory: address space alone
  std::string fault;
  cudaError_t last_error = cudaSuccess;
};

Runtime& runtime() {
  static auto* instance = new Runtime;  // outlives static tensors
  return *instance;
}

cudaError_t answer(cudaError_t error) {
  if (error != cudaSuccess) runtime().last_error = error;
  return error;
}

bool within(const std::map<const std::byte*, size_t>& blocks, const void* pointer, size_t bytes) {
  const auto* place = static_cast<const std::byte*>(pointer);
  auto block = blocks.upper_bound(place);
  if (block == blocks.begin()) return false;
  --block;
  return place + bytes <= block->first + block->second;
}

void open_device_memory(bool open) {
  for (const auto& [place, bytes] : runtime().device) {
    if (runtime().reserved.contains(place)) continue;
    if (open)
      ASAN_UNPOISON_MEMORY_REGION(place, bytes);
    else
      ASAN_POISON_MEMORY_REGION(place, bytes);
  }
}

CUstream_st* capturing() {
  for (const auto& stream : runtime().streams)
    if (stream->captured) return stream.get();
  return nullptr;
}

// Calls that may not be made while any stream captures break the capture, as they do on a device.
cudaError_t forbid_in_capture() {
  CUstream_st* stream = capturing();
  if (!stream) return cudaSuccess;
  stream->capture_broken = true;
  return answer(cudaErrorStreamCaptureUnsupported);
}

bool can_run(const CUstream_st& stream) {
  if (stream.queue.empty()) return false;
  const Item& head = stream.queue.front();
  return head.kind != Item::Kind::wait || head.event->completed >= head.count;
}

void run_head(CUstream_st& stream) {
  Item item = std::move(stream.queue.front());
  stream.queue.pop_front();
  if (item.kind == Item::Kind::record) item.event->completed = std::max(item.event->completed, item.count);
  if (item.kind == Item::Kind::work) item.run();
}

// Lets streams go on, one of them at random each time, until `done`.
template <typename Done>
cudaError_t drain(Done&& done) {
  Runtime& r = runtime();
  if (!r.fault.empty()) return answer(cudaErrorLaunchFailure);
  open_device_memory(true);
  try {
    while (!done()) {
      std::vector<CUstream_st*> ready;
      for (const auto& stream : r.streams)
        if (can_run(*stream)) ready.push_back(stream.get());
      if (ready.empty()) throw emulation::Fault("streams wait for each other");
      run_head(*ready[emulation::random_below(ready.size())]);
    }
  } catch (const emulation::Fault& fault) {
    r.fault = fault.what();
    std::fprintf(stderr, "emulated device: %s\n", fault.what());
    for (const auto& stream : r.streams) stream->queue.clear();
  }
  open_device_memory(false);
  return answer(r.fault.empty() ? cudaSuccess : cudaErrorLaunchFailure);
}

cudaError_t enqueue(cudaStream_t stream, Item item) {
  Runtime& r = runtime();
  if (!r.fault.empty()) return answer(cudaErrorLaunchFailure);
  // The default stream orders itself with others in ways that this project does not rely on.
  const auto known = [&](const auto& own) { return own.get() == stream; };
  if (std::ranges::none_of(r.streams, known)) return answer(cudaErrorInvalidResourceHandle);
  if (r.idle) return cudaSuccess;
  if (stream->captured)
    stream->captured->nodes.push_back(std::move(item));
  else
    stream->queue.push_back(std::move(item));
  return cudaSuccess;
}

bool all_done() {
  return std::ranges::all_of(runtime().streams, [](const auto& stream) { return stream->queue.empty(); });
}

std::shared_ptr<CUevent_st> event_of(cudaEvent_t event) {
  const auto found = runtime().events.find(event);
  return found == runtime().events.end() ? nullptr : found->second;
}

}  // namespace

namespace emulation {

cudaError_t enqueue_kernel(const std::string& name, dim3 grid, dim3 block, bool together, size_t argument_bytes,
                           cudaStream_t stream, std::function<void()> kernel) {
  const bool grid_fits =
      grid.x > 0 && grid.y > 0 && grid.z > 0 && grid.x <= 0x7FFFFFFF && grid.y <= 65535 && grid.z <= 65535;
  const bool block_fits = block.x > 0 && block.y > 0 && block.z > 0 && block.x <= 1024 && block.y <= 1024 &&
                          block.z <= 64 && size_t{block.x} * block.y * block.z <= 1024;
  if (!grid_fits || !block_fits) return answer(cudaErrorInvalidConfiguration);
  if (argument_bytes > 32764) return answer(cudaErrorInvalidValue);
  if (together && size_t{grid.x} * grid.y * grid.z > static_cast<size_t>(runtime().multiprocessors))
    return answer(cudaErrorCooperativeLaunchTooLarge);
  const auto run = [=, kernel = std::move(kernel)] {
    try {
      run_grid(grid, block, together, kernel);
    } catch (const Fault& fault) {
      throw Fault("kernel " + name + ": " + fault.what());
    }
  };
  return enqueue(stream, {Item::Kind::work, name, run, nullptr, 0});
}

cudaError_t enqueue_library_call(const std::string& name, cudaStream_t stream, std::function<void()> call) {
  return enqueue(stream, {Item::Kind::work, name, std::move(call), nullptr, 0});
}

std::string take_fault() { return std::exchange(runtime().fault, {}); }

std::vector<std::string> node_names(cudaGraph_t graph) {
  std::vector<std::string> names;
  for (const Item& node : graph->nodes) names.push_back(node.name);
  return names;
}

size_t live_allocations() { return runtime().device.size(); }
size_t allocation_count() { return runtime().allocations; }

const std::byte* end_of_block(const void* pointer) {
  auto block = runtime().device.upper_bound(static_cast<const std::byte*>(pointer));
  if (block == runtime().device.begin()) return nullptr;
  --block;
  const std::byte* const end = block->first + block->second;
  return static_cast<const std::byte*>(pointer) < end ? end : nullptr;
}

void set_device_count(int count) { runtime().device_count = count; }
void set_driver_version(int version) { runtime().driver_version = version; }
void set_compute_major(int major) { runtime().compute_major = major; }
void set_multiprocessors(int count) { runtime().multiprocessors = count; }
void set_idle(bool idle) { runtime().idle = idle; }
void set_memory_left(size_t bytes) { runtime().memory_left = bytes; }

}  // namespace emulation

extern "C" {

cudaError_t cudaGetDeviceCount(int* count) {
  if (runtime().device_count == 0) return answer(cudaErrorNoDevice);  // and leaves the count as it was
  *count = runtime().device_count;
  return cudaSuccess;
}
cudaError_t cudaSetDevice(int device) {
  return answer(device < runtime().device_count ? cudaSuccess : cudaErrorInvalidDevice);
}
cudaError_t cudaGetDevice(int* device) {
  *device = 0;
  return cudaSuccess;
}
cudaError_t cudaDriverGetVersion(int* version) {
  *version = runtime().device_count > 0 ? runtime().driver_version : 0;
  return cudaSuccess;
}
cudaError_t cudaRuntimeGetVersion(int* version) {
  *version = CUDART_VERSION;
  return cudaSuccess;
}
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int) {
  switch (attribute) {
    case cudaDevAttrMultiProcessorCount:
      *value = runtime().multiprocessors;
      return cudaSuccess;
    case cudaDevAttrCooperativeLaunch:
      *value = 1;
      return cudaSuccess;
    case cudaDevAttrComputeCapabilityMajor:
      *value = runtime().compute_major;
      return cudaSuccess;
    case cudaDevAttrComputeCapabilityMinor:
      *value = 0;
      return cudaSuccess;
    default:
      return answer(cudaErrorInvalidValue);
  }
}
cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, const void*, int, size_t) {
  *blocks = 1;
  return cudaSuccess;
}
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int) {
  *properties = {};
  std::strcpy(properties->name, "emulated device");
  properties->major = runtime().compute_major;
  properties->multiProcessorCount = runtime().multiprocessors;
  properties->totalGlobalMem = size_t{8} << 30;
  return cudaSuccess;
}
cudaError_t cudaMemGetInfo(size_t* available, size_t* total) {
  *available = *total = size_t{8} << 30;
  return cudaSuccess;
}
cudaError_t cudaGetLastError() { return std::exchange(runtime().last_error, cudaSuccess); }
cudaError_t cudaPeekAtLastError() { return runtime().last_error; }
const char* cudaGetErrorString(cudaError_t error) {
  switch (error) {
    case cudaSuccess:
      return "no error";
    case cudaErrorInvalidConfiguration:
      return "invalid configuration argument";
    case cudaErrorCooperativeLaunchTooLarge:
      return "too many blocks in cooperative launch";
    case cudaErrorLaunchFailure:
      return "unspecified launch failure";
    case cudaErrorStreamCaptureUnsupported:
      return "operation not permitted when stream is capturing";
    case cudaErrorStreamCaptureInvalidated:
      return "operation failed due to a previous error during capture";
    case cudaErrorNoDevice:
      return "no CUDA-capable device is detected";
    default:
      return "emulated error";
  }
}
const char* cudaGetErrorName(cudaError_t error) { return cudaGetErrorString(error); }

cudaError_t cudaMalloc(void** pointer, size_t bytes) {
  if (const cudaError_t error = forbid_in_capture()) return error;
  size_t& left = runtime().memory_left;
  if (bytes > left) return answer(cudaErrorMemoryAllocation);
  if (left != SIZE_MAX) left -= bytes;
  std::byte* place = nullptr;
  if (runtime().idle) {
    void* pages = mmap(nullptr, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (pages == MAP_FAILED) return answer(cudaErrorMemoryAllocation);
    place = static_cast<std::byte*>(pages);
    runtime().reserved.insert(place);
  } else {
    // Exactly as large as asked: the address sanitizer sees the first byte beyond.
    place = static_cast<std::byte*>(::operator new (bytes, std::align_val_t{256}));
    std::memset(place, 0xFF, bytes);  // NaN to floats, no code to integers
    ASAN_POISON_MEMORY_REGION(place, bytes);
  }
  runtime().device[place] = bytes;
  ++runtime().allocations;
  *pointer = place;
  return cudaSuccess;
}
cudaError_t cudaFree(void* pointer) {
  if (!pointer) return cudaSuccess;
  if (const cudaError_t error = forbid_in_capture()) return error;
  const cudaError_t error = drain(all_done);
  auto* place = static_cast<std::byte*>(pointer);
  const auto block = runtime().device.find(place);
  if (block == runtime().device.end()) return answer(cudaErrorInvalidValue);
  if (runtime().memory_left != SIZE_MAX) runtime().memory_left += block->second;
  if (runtime().reserved.erase(place) > 0) {
    munmap(place, block->second);
    runtime().device.erase(block);
    return error;
  }
  ASAN_UNPOISON_MEMORY_REGION(place, block->second);
  runtime().device.erase(block);
  ::operator delete (place, std::align_val_t{256});
  return error;
}
cudaError_t cudaMallocHost(void** pointer, size_t bytes) {
  if (const cudaError_t error = forbid_in_capture()) return error;
  auto* place = static_cast<std::byte*>(::operator new (bytes, std::align_val_t{256}));
  runtime().pinned[place] = bytes;
  *pointer = place;
  return cudaSuccess;
}
cudaError_t cudaFreeHost(void* pointer) {
  if (!pointer) return cudaSuccess;
  if (runtime().pinned.erase(static_cast<std::byte*>(pointer)) == 0) return answer(cudaErrorInvalidValue);
  ::operator delete (pointer, std::align_val_t{256});
  return cudaSuccess;
}

cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind, cudaStream_t stream) {
  const Runtime& r = runtime();
  const bool to_device = within(r.device, to, bytes), from_device = within(r.device, from, bytes);
  const bool wants_to = kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice,
             wants_from = kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice;
  if (to_device != wants_to || from_device != wants_from) return answer(cudaErrorInvalidValue);
  const void* host = to_device ? from : to;
  const bool pageable = to_device != from_device && !within(r.pinned, host, bytes);
  if (pageable && stream && stream->captured) return forbid_in_capture();
  const char* name = !from_device ? "copy in" : to_device ? "copy" : "copy out";
  if (pageable && to_device) {  // read at once
    const auto* begin = static_cast<const std::byte*>(from);
    std::vector<std::byte> staged(begin, begin + bytes);
    return enqueue(stream,
                   {Item::Kind::work, name,
                    [to, staged = std::move(staged)] { std::memcpy(to, staged.data(), staged.size()); }, nullptr, 0});
  }
  const cudaError_t error =
      enqueue(stream, {Item::Kind::work, name, [=] { std::memcpy(to, from, bytes); }, nullptr, 0});
  return error == cudaSuccess && pageable ? cudaStreamSynchronize(stream) : error;
}
cudaError_t cudaMemsetAsync(void* to, int value, size_t bytes, cudaStream_t stream) {
  if (!within(runtime().device, to, bytes)) return answer(cudaErrorInvalidValue);
  return enqueue(stream, {Item::Kind::work, "fill", [=] { std::memset(to, value, bytes); }, nullptr, 0});
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned int) {
  runtime().streams.push_back(std::make_unique<CUstream_st>());
  *stream = runtime().streams.back().get();
  return cudaSuccess;
}
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  const cudaError_t error = drain([&] { return stream->queue.empty(); });
  std::erase_if(runtime().streams, [&](const auto& own) { return own.get() == stream; });
  return error;
}
cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  if (const cudaError_t error = forbid_in_capture()) return error;
  return drain([&] { return stream->queue.empty(); });
}
cudaError_t cudaDeviceSynchronize() {
  if (const cudaError_t error = forbid_in_capture()) return error;
  return drain(all_done);
}
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned int) {
  const auto known = event_of(event);
  if (!known) return answer(cudaErrorInvalidResourceHandle);
  if (stream->captured) return answer(cudaErrorStreamCaptureIsolation);  // graphs here have one stream
  if (known->recorded == 0) return cudaSuccess;
  return enqueue(stream, {Item::Kind::wait, "wait", {}, known, known->recorded});
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned int) {
  auto created = std::make_shared<CUevent_st>();
  *event = created.get();
  runtime().events[*event] = std::move(created);
  return cudaSuccess;
}
cudaError_t cudaEventDestroy(cudaEvent_t event) {
  runtime().events.erase(event);
  return cudaSuccess;
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  const auto known = event_of(event);
  if (!known) return answer(cudaErrorInvalidResourceHandle);
  if (stream->captured) return answer(cudaErrorStreamCaptureUnsupported);
  return enqueue(stream, {Item::Kind::record, "record", {}, known, ++known->recorded});
}
cudaError_t cudaEventQuery(cudaEvent_t event) {
  const auto known = event_of(event);
  return !known                                ? answer(cudaErrorInvalidResourceHandle)
         : known->completed >= known->recorded ? cudaSuccess
                                               : cudaErrorNotReady;
}
cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  if (const cudaError_t error = forbid_in_capture()) return error;
  const auto known = event_of(event);
  if (!known) return answer(cudaErrorInvalidResourceHandle);
  return drain([&] { return known->completed >= known->recorded; });
}
cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t, cudaEvent_t) {
  *milliseconds = 0;
  return cudaSuccess;
}

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode) {
  if (capturing()) return answer(cudaErrorIllegalState);
  stream->captured = std::make_unique<CUgraph_st>();
  stream->capture_broken = false;
  return cudaSuccess;
}
cudaError_t cudaStreamIsCapturing(cudaStream_t stream, cudaStreamCaptureStatus* status) {
  *status = !stream->captured        ? cudaStreamCaptureStatusNone
            : stream->capture_broken ? cudaStreamCaptureStatusInvalidated
                                     : cudaStreamCaptureStatusActive;
  return cudaSuccess;
}
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  *graph = nullptr;
  if (!stream->captured) return answer(cudaErrorIllegalState);
  const auto captured = std::move(stream->captured);
  if (stream->capture_broken) return answer(cudaErrorStreamCaptureInvalidated);
  *graph = new CUgraph_st(std::move(*captured));
  return cudaSuccess;
}
cudaError_t cudaGraphGetNodes(cudaGraph_t graph, cudaGraphNode_t*, size_t* count) {
  *count = graph->nodes.size();
  return cudaSuccess;
}
cudaError_t cudaGraphInstantiate(cudaGraphExec_t* executable, cudaGraph_t graph, unsigned long long) {
  if (const cudaError_t error = forbid_in_capture()) return error;
  *executable = new CUgraphExec_st{*graph};
  return cudaSuccess;
}
cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t stream) {
  for (const Item& node : executable->graph.nodes)
    if (const cudaError_t error = enqueue(stream, node)) return error;
  return cudaSuccess;
}
cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  delete graph;
  return cudaSuccess;
}
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable) {
  delete executable;
  return cudaSuccess;
}

}  // extern "C"
