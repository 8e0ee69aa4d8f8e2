#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/kernels/cuda/convolution_plan.h"
#include "core/kernels/cuda/runtime.h"
#include "core/tensor/tensor.h"

namespace apotnet::cuda {

/// One launch as the table of nodes shows it: what it reads and writes in device memory, each byte counted once.
struct Node {
  std::string_view name;
  size_t reads = 0, writes = 0;
  size_t jobs = 1;  // that other launches do one by one
};

/// Makes the device of this number, as the driver counts them, that of the process. What of it decides about the bits
/// of a training: "NAME (sm_90, 132 multiprocessors)", with ", without chains" where APOTNET_CHAINS says so.
/// Error(unavailable) where it is not there or too old for the kernels; Error(usage) for another APOTNET_CHAINS.
std::string open_device(int number);

/// The device in use: its stream, memory and the few words that kernels share. Everything of this process runs on one
/// stream, so kernels follow each other in the order of the calls.
class Context : public DeviceMemory {
 public:
  /// Made at the first call, on device 0 unless choose() has named another. Error(unavailable) where it is not there.
  static Context& get();
  static void choose(int number);

  const Stream& stream() const { return stream_; }
  const std::string& description() const { return description_; }  ///< open_device()'s

  DeviceBlock allocate(size_t bytes) override;
  void copy_in(std::span<const std::byte> from, std::byte* to) override;
  void copy_out(const std::byte* from, std::span<std::byte> to) override;
  void copy(const std::byte* from, std::byte* to, size_t bytes) override;
  void fill(std::byte* to, uint64_t pattern, size_t width, size_t count) override;

  /// Counts the blocks of a launch that are done (last_block()); 0 between launches.
  unsigned* ticket() { return tickets(); }
  /// As many for launches of several jobs, whose blocks are counted job by job.
  unsigned* tickets() { return reinterpret_cast<unsigned*>(tickets_.raw()); }
  static constexpr int kTickets = 512;
  /// Raised by kernels that meet what the CPU stops at: an unusable alpha, weights without deviation.
  int* trouble() { return reinterpret_cast<int*>(trouble_.raw()); }
  const Tensor& trouble_flag() const { return trouble_; }

  /// How gradients are convolved, but those of images' weights (f32); codes always go by tf32, which is exact for them.
  /// tf32 at first.
  Arithmetic gradient_arithmetic() const { return gradient_arithmetic_; }
  void set_gradient_arithmetic(Arithmetic arithmetic) { gradient_arithmetic_ = arithmetic; }

  /// Whether recorded steps are fused (step/lower.h); their gradients are bf16 then. On at first.
  bool fuses_steps() const { return fuses_steps_; }
  void set_fuses_steps(bool on) { fuses_steps_ = on; }

  /// How many blocks of a kernel, of so many threads, can be on the device at the same time and meet; 0 where they
  /// cannot, or are not to.
  int blocks_together(const void* kernel, int threads) const;
  void set_blocks_together(bool on) { blocks_may_meet_ = on; }

  /// Every allocation is filled with NaN patterns before its use, so that a read before the first write shows.
  void set_fill_fresh_memory(bool on) { fill_fresh_memory_ = on; }

  void record(const Node& node) {
    if (recorded_) recorded_->push_back(node);
  }
  /// The nodes that `work` launches.
  template <typename Work>
  std::vector<Node> nodes_of(Work&& work) {
    std::vector<Node> nodes;
    struct Recording {
      Context& context;
      ~Recording() { context.recorded_ = nullptr; }
    } recording{*this};
    recorded_ = &nodes;
    work();
    return nodes;
  }

  const std::shared_ptr<Pool>& pool() const { return pool_; }
  /// Memory comes from `pool` until another one is set.
  void set_pool(std::shared_ptr<Pool> pool) { pool_ = std::move(pool); }

 private:
  Context();

  std::string description_;
  Stream stream_;
  std::shared_ptr<Pool> own_pool_ = std::make_shared<Pool>(), pool_ = own_pool_;
  Tensor tickets_, trouble_;
  Arithmetic gradient_arithmetic_ = Arithmetic::tf32;
  bool fuses_steps_ = true;
  bool blocks_may_meet_ = true;
  bool fill_fresh_memory_ = false;
  std::vector<Node>* recorded_ = nullptr;
};

inline constexpr Device kCuda{DeviceType::cuda, 0};

/// Room of the device for the length of a call.
template <typename T>
class Scratch {
 public:
  explicit Scratch(size_t count) : memory_({static_cast<int64_t>(count * sizeof(T))}, DType::u8, kCuda) {}
  T* data() { return reinterpret_cast<T*>(memory_.raw()); }
  size_t bytes() const { return memory_.bytes(); }

 private:
  Tensor memory_;
};

/// Where the elements of a tensor on the device lie; Error(internal) for another type or a tensor of the host.
template <typename T>
const T* input(const Tensor& tensor) {
  require(tensor.dtype() == dtype_of<T>() && !tensor.on_cpu(), "a CUDA kernel got a tensor of type ",
          name_of(tensor.dtype()), tensor.on_cpu() ? " of the host" : "", " for one of type ", name_of(dtype_of<T>()));
  return reinterpret_cast<const T*>(tensor.raw());
}
template <typename T>
T* output(Tensor& tensor) {
  return const_cast<T*>(input<T>(tensor));
}

}  // namespace apotnet::cuda
