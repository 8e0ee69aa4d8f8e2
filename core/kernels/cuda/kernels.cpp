#include "core/kernels/cuda/kernels.h"

#include <optional>

#include "core/kernels/accelerator.h"

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
    const Stream& stream = Context::get().stream();
    if (graph_.nodes() == 0) {
      // What is recorded may not take memory from the device: it is when a run has found all it needs in the pool.
      const PoolScope scope(pool_);
      if (settled_) {
        graph_ = Graph::capture(stream, work);
      } else {
        const size_t before = pool_->reserved();
        work();
        settled_ = pool_->reserved() == before;
      }
    }
    if (graph_.nodes() > 0) graph_.launch(stream);
  }
  size_t nodes() const override { return graph_.nodes(); }

 private:
  std::shared_ptr<Pool> pool_ = std::make_shared<Pool>();
  Graph graph_;
  bool settled_ = false;
};

class PinnedCopy : public LateCopy {
 public:
  void start(const Tensor& from) override {
    shape_ = from.shape();
    dtype_ = from.dtype();
    if (!memory_ || memory_->size() < from.bytes()) memory_.emplace(from.bytes());
    const Stream& stream = Context::get().stream();
    check(cudaMemcpyAsync(memory_->data(), from.raw(), from.bytes(), cudaMemcpyDeviceToHost, stream.get()),
          "copying to the host");
    done_.record(stream);
  }
  Tensor finish() override {
    done_.synchronize();
    Tensor result(shape_, dtype_);
    result.copy_from({memory_->data(), result.bytes()});
    return result;
  }

 private:
  std::optional<Pinned<std::byte>> memory_;
  Event done_;
  Shape shape_;
  DType dtype_ = DType::f32;
};

class CudaDevice : public Accelerator {
 public:
  std::string description() const override { return Context::get().device_name(); }
  void synchronize() override { Context::get().stream().synchronize(); }
  bool take_trouble() override {
    Tensor flag = Context::get().trouble_flag();
    const bool raised = flag.on({}).item() != 0;
    if (raised) flag.fill(0);
    return raised;
  }
  const Tensor& trouble() override { return Context::get().trouble_flag(); }
  std::unique_ptr<LateCopy> late_copy() override { return std::make_unique<PinnedCopy>(); }
  std::unique_ptr<RepeatedWork> repeat() override { return std::make_unique<GraphWork>(); }
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
  static const Kernels kernels{"cuda", &conv,   &norm, &quantize, &fused, &elementwise,
                               &pool,  &linear, &loss, &update,   &batch};
  return kernels;
}

Accelerator& cuda_device() {
  cuda::Context::get();
  static cuda::CudaDevice device;
  return device;
}

}  // namespace apotnet
