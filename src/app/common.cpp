#include "command.hpp"

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fmt/format.h>
#include <unistd.h>

#include <galapagos/comm/agreement.hpp>
#include <galapagos/comm/nccl_collectives.hpp>
#include <galapagos/core/hash.hpp>
#include <galapagos/core/logging.hpp>
#include <galapagos/core/system.hpp>
#include <galapagos/io/model_sequences.hpp>
#include <galapagos/model/collectives_check.hpp>
#include <galapagos/ops/tuning.hpp>

namespace galapagos::app {
namespace {

// A rank's fair share of the node, within what the launcher has bound it to.
int default_threads(const Communicator& world) {
  const int online = static_cast<int>(std::max(sysconf(_SC_NPROCESSORS_ONLN), 1L));
  const int share =
      std::max(online / world.split_node().size(), 1);  // collective, whatever a rank's environment says
  if (std::getenv("OMP_NUM_THREADS") != nullptr) return 0;
  return std::min(usable_processors(), share);
}

bool has_weights(const std::filesystem::path& folder) {
  return std::any_of(std::filesystem::directory_iterator(folder), std::filesystem::directory_iterator(),
                     [](const auto& entry) { return entry.path().extension() == ".safetensors"; });
}

// Weights of 16 bits are worth no products of 32 bits. Only a GPU asks for it, so that the checkpoint is
// opened for its type only there.
DType products_of(Device device, std::optional<DType> weights, const std::filesystem::path& model) {
  if (device == Device::cpu) return DType::f32;
  // A folder without weights says in its config.json of which type they are going to be.
  if (!weights && std::filesystem::is_directory(model)) {
    weights = has_weights(model)                               ? Checkpoint(model).dtype()
              : read_hf_config(model).torch_dtype == "float32" ? DType::f32
                                                               : DType::bf16;
  }
  if (weights == DType::f16) log_info("fp16 weights are held and computed with in bf16 on a GPU");
  return weights.value_or(DType::f32) == DType::f32 ? DType::f32 : DType::bf16;
}

/// What was chosen by measuring and is no option, as comments of an INI file.
std::string tuning_text() {
  std::string text;
  for (const Device device : {Device::cpu, Device::cuda}) {
    for (const ops::Tuning& one : ops::tuning_of(device))
      text += fmt::format("# {} {} = {}\n", device == Device::cpu ? "cpu" : "cuda", one.name, one.value);
  }
  return text.empty() ? text : "\n# built in, by device:\n" + text;
}

}  // namespace

bool begin(const Communicator& world, Options& options, const std::vector<std::string>& words) {
  agree(world, [&] {
    options.parse(words);
    start_logging(options.get<std::string>("log-level"), world.rank());
  });
  if (options.flag("help")) print(world, options.help());
  if (options.flag("print-options")) print(world, options.reference());
  if (options.flag("print-man")) print(world, options.manual());
  if (options.flag("print-config")) {
    print(world, options.resolved());
    if (options.declares("backend")) print(world, tuning_text());
  }
  return !options.flag("help") && !options.flag("print-options") && !options.flag("print-man") &&
         !options.flag("print-config");
}

ops::Context make_context(const Communicator& world, const ComputingOptions& options) {
  const int fallback = default_threads(world);
  const Device device = choose_device(world, options);
  return agree_on(world, [&] {
    ops::Context context(device, options.threads > 0 ? static_cast<int>(options.threads) : fallback,
                         products_of(device, options.precision, options.model));
    check_collectives(context, options.collectives);
    const char* waiting = std::getenv("OMP_WAIT_POLICY");
    if (waiting != nullptr) log_debug("threads of OpenMP wait as OMP_WAIT_POLICY={} says", waiting);
    return context;
  });
}

MakeCollectives collectives_for(const ops::Context& context, const ComputingOptions& options) {
  return [&context, options](const Communicator& ranks) {
    std::unique_ptr<Collectives> collectives = make_collectives(ranks, context, options.collectives);
    if (options.no_collectives_check || ranks.size() == 1) return collectives;
    // The hidden states of the largest batch.
    const std::int64_t largest = agree_on(ranks, [&] {
      const HfConfig config = read_hf_config(options.model);
      return config.hidden_size *
             std::max(options.batch_tokens, checked_sequence_length(options.sequence_length, config));
    });
    check_exchange(*collectives, context, static_cast<std::size_t>(std::max<std::int64_t>(largest, 1)),
                   context.activations());
    return collectives;
  };
}

MakeCollectives hessian_collectives_for(const ops::Context& context, const ComputingOptions& options) {
  const CollectivesKind kind = options.collectives;
  if (context.device() == Device::cpu || kind == CollectivesKind::mpi || !built_with_nccl()) return {};
  return [&context, options](const Communicator& ranks) -> std::unique_ptr<Collectives> {
    if (ranks.size() == 1) return nullptr;
    if (options.collectives == CollectivesKind::automatic && !nccl_can_connect(ranks)) {
      log_info("ranks share a GPU: Hessians go over MPI");
      return nullptr;
    }
    std::unique_ptr<Collectives> collectives = make_collectives(ranks, context, options.collectives);
    if (!options.no_collectives_check)
      check_messages(*collectives, context, static_cast<std::size_t>(message_values));
    return collectives;
  };
}

HfConfig NamedModel::shape() const {
  HfConfig own = config;
  if (database) own.layer_shapes = space.shapes(config, assignment);
  return own;
}

std::int64_t NamedModel::parameters() const {
  return parameters_in_model(shape());
}

ModelSource NamedModel::source(const ops::Context& context, int shard, int shards) const {
  const DType held = ops::working_type(context.device(), precision);
  if (!database) {
    return checkpoint_source(*checkpoint, config, part_of_model(config, shard, shards), held,
                             context.device());
  }
  return stitched_source(context, *checkpoint, config, *database, space, assignment, held, shard, shards);
}

std::unique_ptr<NamedModel> open_model(const Communicator& world, const std::filesystem::path& folder,
                                       const std::optional<std::filesystem::path>& database,
                                       const std::optional<std::filesystem::path>& assignment,
                                       std::optional<DType> precision) {
  agree(world, [&] {
    if (database.has_value() != assignment.has_value()) {
      throw UsageError("only one of the two is given", "--database, --assignment", "give both or none");
    }
  });
  auto model = open_modules(world, folder, database);
  model->precision = precision.value_or(model->checkpoint->dtype());
  if (assignment) agree(world, [&] { model->assignment = read_assignment(model->space, *assignment); });
  return model;
}

std::unique_ptr<NamedModel> open_modules(const Communicator& world, const std::filesystem::path& folder,
                                         const std::optional<std::filesystem::path>& database) {
  auto model = std::make_unique<NamedModel>();
  agree(world, [&] {
    model->config = read_hf_config(folder);
    model->checkpoint.emplace(folder);
    model->precision = model->checkpoint->dtype();
    if (database) model->database.emplace(*database);
  });
  if (!database) return model;
  std::string fingerprint;
  agree_at_root(world, [&] { fingerprint = hex64(model->checkpoint->fingerprint()); });
  model->space = load_space(world, *model->database, model->config, fingerprint);
  return model;
}

void check_folder(const std::filesystem::path& output) {
  const std::filesystem::path folder = std::filesystem::absolute(output).parent_path();
  if (::access(folder.c_str(), W_OK | X_OK) == 0) return;
  throw InputError("cannot write into the folder", folder.string(), "make it, or choose another --output");
}

void check_output_file(const std::filesystem::path& output, std::span<const std::filesystem::path> inputs) {
  check_folder(output);
  const std::filesystem::file_status there = std::filesystem::symlink_status(output);
  if (!std::filesystem::exists(there)) return;
  if (!std::filesystem::is_regular_file(there))
    throw InputError("is there, and no file", output.string(), "choose the name of a file");
  for (const std::filesystem::path& input : inputs) {
    if (std::filesystem::exists(input) && std::filesystem::equivalent(input, output))
      throw InputError("is what the command reads", output.string(),
                       "choose another file for what it writes");
  }
}

void check_finite(std::span<const SequenceScore> scores) {
  if (std::ranges::all_of(scores,
                          [](const SequenceScore& score) { return std::isfinite(score.nll + score.kl); }))
    return;
  throw NumericalError("log-probabilities are NaN or infinite", "the model's output",
                       "check the checkpoint, or use --precision fp32");
}

void print(const Communicator& world, const std::string& text) {
  if (!world.is_root()) return;
  if (std::fputs(text.c_str(), stdout) >= 0 && std::fflush(stdout) == 0) return;
  const int error = errno;
  throw ResourceError(fmt::format("cannot write: {}", std::strerror(error)), "the standard output",
                      "free space, or send it elsewhere");
}

}  // namespace galapagos::app
