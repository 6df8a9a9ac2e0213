// Graphs of cuDNN through its frontend, which is told to look its functions up at run time: a machine without
// cuDNN runs this program all the same.
#define NV_CUDNN_FRONTEND_USE_DYNAMIC_LOADING
#define CUDNN_FRONTEND_SKIP_JSON_LIB
#include "attention_cudnn_plan.hpp"

#include "tuning.hpp"

#include <algorithm>
#include <cudnn_frontend.h>
#include <dlfcn.h>
#include <exception>
#include <fmt/format.h>
#include <map>
#include <memory>
#include <stdexcept>
#include <unordered_map>
#include <utility>
#include <vector>

#include <galapagos/core/logging.hpp>
#include <galapagos/core/progress.hpp>
#include <galapagos/ops/cudnn.hpp>

namespace cudnn_frontend {
void* cudnn_dlhandle = nullptr;  // what the frontend looks functions up in
}

namespace galapagos::ops {
namespace cuda {
namespace {

namespace fe = cudnn_frontend;
using TensorRef = std::shared_ptr<fe::graph::Tensor_attributes>;

template <typename Function>
Function* function_of_cudnn(const char* name) {
  void* address = dlsym(fe::cudnn_dlhandle, name);
  if (address == nullptr) throw std::runtime_error(std::string("it has no ") + name);
  return reinterpret_cast<Function*>(address);
}

/// Loads cuDNN at the first call; what was wrong, empty where nothing was.
const std::string& loading_error() {
  static const std::string error = [] {
    constexpr const char* name = "libcudnn.so.9";
    fe::cudnn_dlhandle = dlopen(name, RTLD_NOW | RTLD_LOCAL);
    if (fe::cudnn_dlhandle != nullptr) return std::string();
    const char* reason = dlerror();
    return std::string(reason != nullptr ? reason : name);
  }();
  return error;
}

std::string loaded_version() {
  const std::size_t version = function_of_cudnn<decltype(cudnnGetVersion)>("cudnnGetVersion")();
  return fmt::format("{}.{}.{}", version / 10000, version / 100 % 100, version % 100);
}

void check(fe::error_t status, const char* step) {
  if (status.is_bad()) throw std::runtime_error(fmt::format("{}: {}", step, status.get_message()));
}

/// cuDNN's handle, bound to the stream of the process. It is never destroyed: at the end of a process
/// libraries that were loaded late are gone before what outlives main().
cudnnHandle_t handle_of(const Resources& gpu) {
  static const cudnnHandle_t handle = [&gpu] {
    const auto checked = [](cudnnStatus_t status, const char* call) {
      if (status == CUDNN_STATUS_SUCCESS) return;
      throw std::runtime_error(fmt::format(
          "{}: {}", call, function_of_cudnn<decltype(cudnnGetErrorString)>("cudnnGetErrorString")(status)));
    };
    cudnnHandle_t made = nullptr;
    checked(function_of_cudnn<decltype(cudnnCreate)>("cudnnCreate")(&made), "cudnnCreate");
    checked(function_of_cudnn<decltype(cudnnSetStream)>("cudnnSetStream")(made, gpu.stream()),
            "cudnnSetStream");
    log_info("attention goes through cuDNN {} where that is the faster way", loaded_version());
    return made;
  }();
  return handle;
}

std::string described(AttentionStep step, const AttentionShape& shape) {
  return fmt::format("{} of {} x {} tokens, {} heads of {}, {} KV heads",
                     step == AttentionStep::backward            ? "gradients"
                     : step == AttentionStep::forward_with_sums ? "attention with its sums"
                                                                : "attention",
                     shape.sequences, shape.length, shape.heads, shape.head_dim, shape.kv_heads);
}

class GraphPlan final : public AttentionPlan {
 public:
  GraphPlan(Resources& gpu, AttentionStep step, const AttentionShape& shape) : shape_(shape) {
    graph_.set_io_data_type(fe::DataType_t::BFLOAT16)
        .set_intermediate_data_type(fe::DataType_t::FLOAT)
        .set_compute_data_type(fe::DataType_t::FLOAT);
    const TensorRef q = input(queries()), k = input(keys()), v = input(keys());
    if (step == AttentionStep::backward) {
      add_backward(q, k, v);
    } else {
      add_forward(q, k, v, step == AttentionStep::forward_with_sums);
    }
    const cudnnHandle_t handle = handle_of(gpu);
    check(graph_.validate(), "the graph is not valid");
    check(graph_.build_operation_graph(handle), "the graph cannot be built");
    check(graph_.create_execution_plans({fe::HeurMode_t::A}), "no way is known");
    check(graph_.check_support(handle), "no way is supported");
    check(graph_.build_plans(handle), "no way can be built");
    workspace_ = static_cast<std::size_t>(std::max<std::int64_t>(graph_.get_workspace_size(), 0));
    name_ = described(step, shape);
  }

  std::size_t workspace() const { return workspace_; }

  bool run(Resources& gpu, std::span<void* const> tensors) override {
    if (failed_) return false;
    try {
      std::unordered_map<std::int64_t, void*> pointers;
      for (std::size_t i = 0; i < tensors.size(); ++i)
        pointers.emplace(static_cast<std::int64_t>(i) + 1, tensors[i]);
      const Array<std::byte> workspace(static_cast<std::int64_t>(std::max<std::size_t>(workspace_, 1)),
                                       "the workspace of attention");
      check(graph_.execute(handle_of(gpu), pointers, workspace.data()), "it cannot be started");
      return true;
    } catch (const std::exception& error) {  // no memory for the workspace, too
      log_warning("cuDNN fails at {} ({}); our own kernels go on", name_, error.what());
      failed_ = true;
      return false;
    }
  }

 private:
  fe::graph::Tensor_attributes rows_of(std::int64_t heads, std::int64_t row_heads) const {
    const std::int64_t row = row_heads * shape_.head_dim;
    return fe::graph::Tensor_attributes()
        .set_dim({shape_.sequences, heads, shape_.length, shape_.head_dim})
        .set_stride({shape_.length * row, shape_.head_dim, row, 1});
  }
  fe::graph::Tensor_attributes queries() const { return rows_of(shape_.heads, shape_.row_heads); }
  fe::graph::Tensor_attributes keys() const { return rows_of(shape_.kv_heads, shape_.row_kv_heads); }
  fe::graph::Tensor_attributes sums() const {
    return fe::graph::Tensor_attributes()
        .set_dim({shape_.sequences, shape_.heads, shape_.length, 1})
        .set_stride({shape_.heads * shape_.length, shape_.length, 1, 1})
        .set_data_type(fe::DataType_t::FLOAT);
  }

  /// Tensors are numbered as they are made, in the order of run().
  TensorRef input(fe::graph::Tensor_attributes like) {
    const std::int64_t id = ++tensors_;
    return graph_.tensor(like.set_uid(id).set_name(fmt::format("tensor {}", id)));
  }
  void output(const TensorRef& tensor, const fe::graph::Tensor_attributes& like) {
    tensor->set_output(true).set_uid(++tensors_).set_dim(like.get_dim()).set_stride(like.get_stride());
  }

  void add_forward(const TensorRef& q, const TensorRef& k, const TensorRef& v, bool with_sums) {
    const auto [out, log_sums] = graph_.sdpa(q, k, v,
                                             fe::graph::SDPA_attributes()
                                                 .set_name("attention")
                                                 .set_generate_stats(with_sums)
                                                 .set_causal_mask(true)
                                                 .set_attn_scale(shape_.scale));
    output(out, queries());
    if (!with_sums) return;
    output(log_sums, sums());
    log_sums->set_data_type(fe::DataType_t::FLOAT);
  }

  void add_backward(const TensorRef& q, const TensorRef& k, const TensorRef& v) {
    const TensorRef out = input(queries()), log_sums = input(sums()), d_out = input(queries());
    const auto [d_q, d_k, d_v] = graph_.sdpa_backward(q, k, v, out, d_out, log_sums,
                                                      fe::graph::SDPA_backward_attributes()
                                                          .set_name("gradients of attention")
                                                          .set_causal_mask(true)
                                                          .set_attn_scale(shape_.scale)
                                                          .set_deterministic_algorithm(true));
    output(d_q, queries());
    output(d_k, keys());
    output(d_v, keys());
  }

  AttentionShape shape_;
  fe::graph::Graph graph_;
  std::int64_t tensors_ = 0;
  std::size_t workspace_ = 0;
  std::string name_;
  bool failed_ = false;
};

/// nullptr, with a line in the log, where there is none.
std::unique_ptr<AttentionPlan> make_plan(Resources& gpu, AttentionStep step, const AttentionShape& shape,
                                         std::size_t most_workspace) {
  constexpr std::size_t mebi = std::size_t{1} << 20;
  try {
    const Stopwatch watch;
    auto plan = std::make_unique<GraphPlan>(gpu, step, shape);
    if (plan->workspace() <= most_workspace) {
      log_debug("cuDNN has a plan for {}: {} MiB of workspace, made in {:.0f} ms", described(step, shape),
                plan->workspace() / mebi, watch.seconds() * 1e3);
      return plan;
    }
    log_info("our own kernels compute {}: cuDNN needs {} MiB of workspace for it", described(step, shape),
             plan->workspace() / mebi);
  } catch (const std::exception& error) {
    log_info("our own kernels compute {}: cuDNN cannot ({})", described(step, shape), error.what());
  }
  return nullptr;
}

}  // namespace

bool cudnn_loads() {
  static const bool loads = [] {
    if (!loading_error().empty())
      log_info("attention is our own: cuDNN cannot be loaded ({})", loading_error());
    return loading_error().empty();
  }();
  return loads;
}

AttentionPlan* attention_plan(Resources& gpu, AttentionStep step, const AttentionShape& shape,
                              std::size_t most_workspace) {
  if (!cudnn_loads()) return nullptr;
  using Plans = std::map<std::pair<AttentionStep, AttentionShape>, std::unique_ptr<AttentionPlan>>;
  static Plans& plans = *new Plans;  // never destroyed, as the handle
  const std::pair key(step, shape);
  const auto known = plans.find(key);
  if (known != plans.end()) return known->second.get();
  // A plan takes a while to make: input of ever other lengths must not wait for one each time.
  if (plans.size() >= cudnn_plans) {
    static const bool told = [] {
      log_info("our own kernels compute attention of further lengths: cuDNN has {} plans by now",
               cudnn_plans);
      return true;
    }();
    static_cast<void>(told);
    return nullptr;
  }
  return plans.emplace(key, make_plan(gpu, step, shape, most_workspace)).first->second.get();
}

}  // namespace cuda

std::string cudnn_version() {
  if (!cuda::loading_error().empty()) return "none (" + cuda::loading_error() + ")";
  try {
    return cuda::loaded_version();
  } catch (const std::exception& error) {
    return fmt::format("none ({})", error.what());
  }
}

}  // namespace galapagos::ops
