#include "core/kernels/cuda/kernels.h"

#include <cstring>
#include <optional>

#include "core/base/error.h"
#include "core/kernels/accelerator.h"
#include "core/kernels/call.h"
#include "core/kernels/cuda/plans.h"
#include "core/kernels/cuda/step/lower.h"

namespace apotnet {
namespace cuda {
namespace {

// The former pool comes back whatever happens.
class PoolScope {
 public:
  explicit PoolScope(std::shared_ptr<Pool> pool) : former_(Context::get().pool()) {
    Context::get().set_pool(std::move(pool));
  }
  ~PoolScope() { Context::get().set_pool(former_); }
  PoolScope(const PoolScope&) = delete;
  PoolScope& operator=(const PoolScope&) = delete;

 private:
  std::shared_ptr<Pool> former_;
};

class GraphWork : public RepeatedWork {
 public:
  void run(const std::function<void()>& work) override {
    // What compares every call on the host can be neither fused nor recorded.
    if (selected_backend() == Backend::checked) return work();
    const Stream& stream = Context::get().stream();
    if (graph_.nodes() == 0) {
      const PoolScope scope(pool_);
      if (std::exchange(first_, false) && Context::get().fuses_steps()) fuse(work);
      // What is recorded may not take memory from the device: it is when a run has found all it needs in the pool.
      if (settled_) {
        graph_ = Graph::capture(stream, [&] { program_ ? program_->run() : work(); });
      } else {
        const size_t taken = pool_->taken(), shortages = pool_->shortages();
        program_ ? program_->run() : work();
        // A program has all of its memory at its first run, unless it had to give some back on the way.
        settled_ = pool_->taken() == taken || (program_ && pool_->shortages() == shortages);
      }
      if (graph_.nodes() == 0) return;
    }
    graph_.launch(stream);
  }
  size_t nodes() const override { return graph_.nodes(); }

 private:
  // The work in few launches, if it lends itself to that. It is called without anything running.
  void fuse(const std::function<void()>& work) {
    std::vector<TracedCall> calls;
    {
      KernelTrace trace(KernelTrace::Mode::records);
      work();
      calls = trace.take();
    }
    program_ = lower_step(calls);
    calls.clear();
    // Tensors that the program does not need are gone with the calls.
    Context::get().stream().synchronize();
    pool_->trim();
  }

  std::shared_ptr<Pool> pool_ = std::make_shared<Pool>();
  std::optional<StepProgram> program_;
  Graph graph_;
  bool first_ = true, settled_ = false;
};

// Pinned memory of one copy, which the device has done when the memory goes.
struct Place {
  Place() = default;
  Place(const Place&) = delete;
  Place& operator=(const Place&) = delete;
  ~Place() { done.wait(); }
  std::byte* of_size(size_t bytes) {
    if (!memory || memory->size() < bytes) {
      done.synchronize();
      memory.emplace(bytes);
    }
    return memory->data();
  }

  std::optional<Pinned<std::byte>> memory;
  Event done;
};

// Two places in turn: one is filled while the device may still read the other.
class PinnedInput : public EarlyCopy {
 public:
  void start(const Tensor& from, Tensor& to) override {
    require(from.on_cpu() && !to.on_cpu() && from.shape() == to.shape() && from.dtype() == to.dtype(),
            "an early copy of ", from.shape(), " to ", to.shape());
    Place& place = places_[turn_];
    turn_ = 1 - turn_;
    place.done.synchronize();
    std::byte* memory = place.of_size(from.bytes());
    std::memcpy(memory, from.raw(), from.bytes());
    to.copy_from({memory, from.bytes()});
    place.done.record(Context::get().stream());
  }

 private:
  Place places_[2];
  size_t turn_ = 0;
};

class PinnedCopy : public LateCopy {
 public:
  void start(const Tensor& from) override {
    shape_ = from.shape();
    dtype_ = from.dtype();
    const Stream& stream = Context::get().stream();
    check(cudaMemcpyAsync(place_.of_size(from.bytes()), from.raw(), from.bytes(), cudaMemcpyDeviceToHost, stream.get()),
          "copying to the host");
    place_.done.record(stream);
  }
  Tensor finish() override {
    place_.done.synchronize();
    Tensor result(shape_, dtype_);
    result.copy_from({place_.memory->data(), result.bytes()});
    return result;
  }

 private:
  Place place_;
  Shape shape_;
  DType dtype_ = DType::f32;
};

class CudaDevice : public Accelerator {
 public:
  std::string description() const override { return Context::get().description(); }
  void synchronize() override { Context::get().stream().synchronize(); }
  bool take_trouble() override {
    Tensor flag = Context::get().trouble_flag();
    const bool raised = flag.on({}).item() != 0;
    if (raised) flag.fill(0);
    return raised;
  }
  const Tensor& trouble() override { return Context::get().trouble_flag(); }
  std::unique_ptr<EarlyCopy> early_copy() override { return std::make_unique<PinnedInput>(); }
  std::unique_ptr<LateCopy> late_copy() override { return std::make_unique<PinnedCopy>(); }
  std::unique_ptr<RepeatedWork> repeat() override { return std::make_unique<GraphWork>(); }
  std::map<std::string, std::string> engines() const override { return chosen_engines(); }
  void prefer_engines(const std::map<std::string, std::string>& engines) override { cuda::prefer_engines(engines); }
};

}  // namespace
}  // namespace cuda

const Kernels& cuda_kernels() {
  static const cuda::CudaConv conv;
  static const cuda::CudaNorm norm;
  static const cuda::CudaQuantize quantize;
  static const cuda::CudaFused fused;
  static const cuda::CudaElementwise elementwise;
  static const cuda::CudaPool pool;
  static const cuda::CudaLinear linear;
  static const cuda::CudaLoss loss;
  static const cuda::CudaUpdate update;
  static const cuda::CudaBatch batch;
  static const cuda::CudaCodes codes;
  static const Kernels kernels{"cuda", &conv,   &norm, &quantize, &fused, &elementwise,
                               &pool,  &linear, &loss, &update,   &batch, &codes};
  return kernels;
}

void choose_cuda_device(int number) { cuda::Context::choose(number); }

Accelerator& cuda_device() {
  cuda::Context::get();
  static cuda::CudaDevice device;
  return device;
}

}  // namespace apotnet
