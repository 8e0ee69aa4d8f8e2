#include "core/kernels/cuda/kernels.h"

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
    if (runs_ < 3) {
      // The first runs take all memory from the device, so that the recorded one finds it in the pool: the second one
      // meets what the first left behind, as the recorded one will.
      const PoolScope scope(pool_);
      if (runs_ < 2)
        work();
      else
        graph_ = Graph::capture(stream, work);
      ++runs_;
    }
    if (graph_.nodes() > 0) graph_.launch(stream);
  }
  size_t nodes() const override { return graph_.nodes(); }

 private:
  std::shared_ptr<Pool> pool_ = std::make_shared<Pool>();
  Graph graph_;
  int runs_ = 0;
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
  static const Kernels kernels{"cuda", &conv, &norm, &quantize, &fused, &elementwise, &pool, &linear, &loss, &update};
  return kernels;
}

Accelerator& cuda_device() {
  cuda::Context::get();
  static cuda::CudaDevice device;
  return device;
}

}  // namespace apotnet
