// Mistakes that a device would punish or, worse, would not: each must be caught. Run with the name of one; ends with 3
// when the emulation itself reports it, or by a sanitizer: of address and undefined behaviour, or that of threads.
#include <cstdio>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "core/base/error.h"
#include "core/kernels/cuda/gemm.h"
#include "core/kernels/cuda/grid_barrier.h"
#include "core/kernels/cuda/mma.h"
#include "core/kernels/cuda/runtime.h"
#include "core/kernels/cuda/wide.h"

namespace apotnet::cuda {
namespace {

template <typename... Parameters, typename... Arguments>
cudaError_t start(const Stream& stream, dim3 grid, dim3 block, void (*kernel)(Parameters...), Arguments... arguments) {
  return emulation::launch("mistake", kernel, grid, block, false, stream.get(), arguments...);
}
template <typename... Parameters, typename... Arguments>
cudaError_t start_together(const Stream& stream, dim3 grid, dim3 block, void (*kernel)(Parameters...),
                           Arguments... arguments) {
  return emulation::launch("mistake", kernel, grid, block, true, stream.get(), arguments...);
}

// Room on the device that ends with the last float.
class Floats {
 public:
  explicit Floats(size_t count) : count_(count) { check(cudaMalloc(&data_, count * sizeof(float)), "allocating"); }
  ~Floats() { cudaFree(data_); }
  Floats(const Floats&) = delete;
  Floats& operator=(const Floats&) = delete;
  float* get() const { return static_cast<float*>(data_); }
  std::vector<float> read(const Stream& stream) const {
    std::vector<float> values(count_);
    check(cudaMemcpyAsync(values.data(), data_, count_ * sizeof(float), cudaMemcpyDeviceToHost, stream.get()),
          "copying");
    return values;
  }

 private:
  void* data_ = nullptr;
  size_t count_;
};

// Kernels come in pairs: as they should be, and with the mistake.
template <bool kMistake>
__global__ void reverse_in_block(float* y) {
  SHARED_ARRAY(float, values, kThreads);
  values[threadIdx.x] = static_cast<float>(threadIdx.x);
  if (!kMistake) __syncthreads();
  y[threadIdx.x] = values[kThreads - 1 - threadIdx.x];
}
template <bool kMistake>
__global__ void barrier_in_branch(float* y) {
  y[threadIdx.x] = 1;
  if (!kMistake || threadIdx.x % 2 == 0) __syncthreads();
}
__global__ void write_at(float* y, int64_t i) { y[i] = 1; }
template <int N>
__global__ void copy_packs(const float* x, float* y) {
  store(y, 0, load<N>(x, 0));
}
__global__ void add_one(const float* x, float* y) { y[threadIdx.x] = x[threadIdx.x] + 1; }
__global__ void set(float* y, float value) { y[threadIdx.x] = value; }
template <bool kMistake>
__global__ void sum_half_warp(float* y) {
  float sum = 1;
  if (threadIdx.x < 16)
    for (unsigned step = 8; step > 0; step /= 2)
      sum += __shfl_down_sync(kMistake ? 0xFFFFFFFFu : 0x0000FFFFu, sum, threadIdx.x + step < 16 ? step : 0);
  y[threadIdx.x] = sum;
}

// A matrix whose rows begin `shift` bytes late in shared memory, or at y.
__global__ void load_matrix(float* y, int shift, bool elsewhere) {
  using Row = Pack<Word, 4>;
  SHARED_ARRAY(Row, shared, 33);
  auto* const bytes = reinterpret_cast<uint8_t*>(shared);
  for (unsigned i = threadIdx.x; i < 33 * 16; i += 32) bytes[i] = 1;
  __syncthreads();
  Word words[4];
  load_matrices(words, elsewhere ? reinterpret_cast<const uint8_t*>(y) : bytes + threadIdx.x * 16 + shift);
  y[threadIdx.x] = static_cast<float>(words[0] & 255);
}
// A whole pack stored to shared memory, by an instruction for device memory.
__global__ void store_packs(float* y, bool elsewhere) {
  using Quad = Pack<float, 4>;
  SHARED_ARRAY(Quad, shared, 32);
  store_whole(elsewhere ? reinterpret_cast<float*>(shared) : y, threadIdx.x * 4, Quad{1, 1, 1, 1});
  if (elsewhere) store(y, threadIdx.x * 4, shared[threadIdx.x]);
}

void require_all(const std::vector<float>& values, const std::function<float(size_t)>& expected) {
  for (size_t i = 0; i < values.size(); ++i)
    if (!(values[i] == expected(i))) {
      std::printf("caught: wrong number %g at %zu\n", static_cast<double>(values[i]), i);
      std::exit(3);
    }
}

void missing_barrier(bool mistake) {
  const Stream stream;
  const Floats y(kThreads);
  start(stream, 1, kThreads, mistake ? reverse_in_block<true> : reverse_in_block<false>, y.get());
  require_all(y.read(stream), [](size_t i) { return static_cast<float>(kThreads - 1 - i); });
}

// Sums in the last block what each block has written.
template <bool kMistake>
__global__ void sum_blocks(float* parts, unsigned* ticket, float* y) {
  if (threadIdx.x != 0) return;
  parts[blockIdx.x] = 1;
  if (!kMistake) __threadfence();
  if (atomicInc(ticket, gridDim.x - 1) != gridDim.x - 1) return;
  __threadfence();
  float sum = 0;
  for (unsigned i = 0; i < gridDim.x; ++i) sum += parts[i];
  y[0] = sum;
}

// The blocks of the emulation run one after another, so the sum is right all the same.
void missing_fence(bool mistake) {
  const Stream stream;
  const Floats parts(4), ticket(1), y(1);
  check(cudaMemsetAsync(ticket.get(), 0, sizeof(unsigned), stream.get()), "filling");
  start(stream, 4, 32, mistake ? sum_blocks<true> : sum_blocks<false>, parts.get(),
        reinterpret_cast<unsigned*>(ticket.get()), y.get());
  require_all(y.read(stream), [](size_t) { return 4.0f; });
}

// Each block reads what the one before it has written.
template <bool kMistake>
__global__ void pass_on(float* parts, float* y) {
  if (threadIdx.x == 0) parts[blockIdx.x] = static_cast<float>(blockIdx.x);
  GridBarrier barrier;
  if (!kMistake) barrier.arrive(), barrier.wait();
  y[blockIdx.x * blockDim.x + threadIdx.x] = parts[(blockIdx.x + 1) % gridDim.x];
}
void missing_grid_barrier(bool mistake) {
  const Stream stream;
  const Floats parts(4), y(128);
  start_together(stream, 4, 32, mistake ? pass_on<true> : pass_on<false>, parts.get(), y.get());
  require_all(y.read(stream), [](size_t i) { return static_cast<float>((i / 32 + 1) % 4); });
}

// The last block goes before the others meet.
template <bool kMistake>
__global__ void leave_early(float* y) {
  if (kMistake && blockIdx.x + 1 == gridDim.x) return;
  GridBarrier barrier;
  barrier.arrive();
  barrier.wait();
  y[blockIdx.x] = 1;
}
void missing_block(bool mistake) {
  const Stream stream;
  const Floats y(4);
  start_together(stream, 4, 32, mistake ? leave_early<true> : leave_early<false>, y.get());
  stream.synchronize();
}

void meeting_in_turn(bool mistake) {
  const Stream stream;
  const Floats y(4);
  if (mistake)
    start(stream, 4, 32, leave_early<false>, y.get());
  else
    start_together(stream, 4, 32, leave_early<false>, y.get());
  stream.synchronize();
}

void too_many_together(bool mistake) {
  const Stream stream;
  const Floats y(5);
  check(start_together(stream, mistake ? 5 : 4, 32, leave_early<false>, y.get()), "launching");
  stream.synchronize();
}

void divergent_barrier(bool mistake) {
  const Stream stream;
  const Floats y(kThreads);
  start(stream, 1, kThreads, mistake ? barrier_in_branch<true> : barrier_in_branch<false>, y.get());
  stream.synchronize();
}

// Several times: the order of streams is random, and a device may be lucky as well.
void missing_event(bool mistake) {
  for (int i = 0; i < 20; ++i) {
    const Stream producer, consumer;
    const Floats x(32), y(32);
    Event ready;
    start(producer, 1, 32, set, x.get(), 5.0f);
    ready.record(producer);
    if (!mistake) ready.hold(consumer);
    start(consumer, 1, 32, add_one, x.get(), y.get());
    require_all(y.read(consumer), [](size_t) { return 6.0f; });
    producer.synchronize();
  }
}

void out_of_bounds(bool mistake) {
  const Stream stream;
  const Floats y(33);
  start(stream, 1, 1, write_at, y.get(), int64_t{mistake ? 33 : 32});
  stream.synchronize();
}

void misaligned_vector(bool mistake) {
  const Stream stream;
  const Floats x(8), y(8);
  start(stream, 1, 1, copy_packs<4>, x.get() + (mistake ? 1 : 4), y.get());
  stream.synchronize();
}

void misaligned_matrix(bool mistake) {
  const Stream stream;
  const Floats y(32);
  start(stream, 1, 32, load_matrix, y.get(), mistake ? 4 : 0, false);
  require_all(y.read(stream), [](size_t) { return 1.0f; });
}

void matrix_of_device_memory(bool mistake) {
  const Stream stream;
  const Floats y(32);
  start(stream, 1, 32, load_matrix, y.get(), 0, mistake);
  require_all(y.read(stream), [](size_t) { return 1.0f; });
}

void store_to_shared_memory(bool mistake) {
  const Stream stream;
  const Floats y(128);
  start(stream, 1, 32, store_packs, y.get(), mistake);
  require_all(y.read(stream), [](size_t) { return 1.0f; });
}

void host_read(bool mistake) {
  const Stream stream;
  const Floats y(32);
  start(stream, 1, 32, set, y.get(), 2.0f);
  stream.synchronize();
  const float value = mistake ? y.get()[3] : y.read(stream)[3];
  std::printf("read %g\n", static_cast<double>(value));
}

void uninitialised_read(bool mistake) {
  const Stream stream;
  const Floats x(32), y(32);
  if (!mistake) start(stream, 1, 32, set, x.get(), 1.0f);
  start(stream, 1, 32, add_one, x.get(), y.get());
  require_all(y.read(stream), [](size_t) { return 2.0f; });
}

void wrong_leading_dimension(bool mistake) {
  const Stream stream;
  const Floats a(6), b(12), c(8), room(64);
  start(stream, 1, 6, set, a.get(), 1.0f);
  start(stream, 1, 12, set, b.get(), 1.0f);
  GemmDescription description = describe_gemm(Arithmetic::f32, 2, 4, 3, false, false);
  if (mistake) description.a_stride = 4;  // the rows of a have 3
  gemm(stream.get(), description, a.get(), b.get(), c.get(), room.get(), 256);
  stream.synchronize();
}

void illegal_launch(bool mistake) {
  const Stream stream;
  const Floats y(32);
  check(start(stream, 1, mistake ? 1056 : 32, write_at, y.get(), int64_t{0}), "launching");
  stream.synchronize();
}

void forbidden_in_capture(bool mistake) {
  const Stream stream;
  const Floats y(32);
  Graph::capture(stream, [&] {
    start(stream, 1, 32, set, y.get(), 1.0f);
    if (mistake) stream.synchronize();
  });
}

void wrong_shuffle_mask(bool mistake) {
  const Stream stream;
  const Floats y(32);
  start(stream, 1, 32, mistake ? sum_half_warp<true> : sum_half_warp<false>, y.get());
  stream.synchronize();
}

const std::map<std::string, void (*)(bool)> kMistakes{{"missing_barrier", missing_barrier},
                                                      {"divergent_barrier", divergent_barrier},
                                                      {"missing_event", missing_event},
                                                      {"missing_fence", missing_fence},
                                                      {"out_of_bounds", out_of_bounds},
                                                      {"misaligned_vector", misaligned_vector},
                                                      {"misaligned_matrix", misaligned_matrix},
                                                      {"host_read", host_read},
                                                      {"uninitialised_read", uninitialised_read},
                                                      {"wrong_leading_dimension", wrong_leading_dimension},
                                                      {"illegal_launch", illegal_launch},
                                                      {"forbidden_in_capture", forbidden_in_capture},
                                                      {"wrong_shuffle_mask", wrong_shuffle_mask},
                                                      {"missing_grid_barrier", missing_grid_barrier},
                                                      {"missing_block", missing_block},
                                                      {"meeting_in_turn", meeting_in_turn},
                                                      {"too_many_together", too_many_together},
                                                      {"matrix_of_device_memory", matrix_of_device_memory},
                                                      {"store_to_shared_memory", store_to_shared_memory}};

}  // namespace
}  // namespace apotnet::cuda

int main(int argc, char** argv) {
  using apotnet::cuda::kMistakes;
  const auto chosen = kMistakes.find(argc > 1 ? argv[1] : "");
  if (chosen == kMistakes.end()) {
    std::printf("usage: emulation_mistakes NAME [right]\n");
    for (const auto& [name, run] : kMistakes) std::printf("%s\n", name.c_str());
    return 64;
  }
  try {
    chosen->second(argc < 3);
  } catch (const apotnet::Error& error) {
    std::printf("caught: %s\n", error.what());
    return 3;
  }
  return 0;
}
