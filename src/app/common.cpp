#include "command.hpp"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fmt/format.h>
#include <unistd.h>

#include <galapagos/comm/agreement.hpp>
#include <galapagos/core/hash.hpp>
#include <galapagos/core/logging.hpp>
#include <galapagos/core/system.hpp>
#include <galapagos/io/model_sequences.hpp>
#include <galapagos/model/collectives_check.hpp>

namespace galapagos::app {
namespace po = boost::program_options;
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
DType products_of(Device device, const Options& options) {
  if (device == Device::cpu) return DType::f32;
  std::optional<DType> weights = precision_of(options);
  if (!weights) {
    const auto model = options.find<std::string>("model");
    // A folder without weights says in its config.json of which type they are going to be.
    if (model && std::filesystem::is_directory(*model)) {
      weights = has_weights(*model)                               ? Checkpoint(*model).dtype()
                : read_hf_config(*model).torch_dtype == "float32" ? DType::f32
                                                                  : DType::bf16;
    }
  }
  if (weights == DType::f16) log_info("fp16 weights are held and computed with in bf16 on a GPU");
  return weights.value_or(DType::f32) == DType::f32 ? DType::f32 : DType::bf16;
}

}  // namespace

void declare_common(Options& options, bool computing) {
  options.declared().add_options()("log-level", po::value<std::string>()->default_value("info"),
                                   "trace, debug, info, warning, error or off");
  if (!computing) return;
  options.declared().add_options()("backend", po::value<std::string>()->default_value("auto"),
                                   "auto, cpu or cuda")("allow-gpu-sharing", po::bool_switch(),
                                                        "let several ranks use one GPU")(
      "collectives", po::value<std::string>()->default_value("auto"),
      "what ranks on GPUs sum and gather through: auto, nccl or mpi")(
      "no-collectives-check", po::bool_switch(),
      "do not look at the start whether sums over the ranks are right")(
      "precision", po::value<std::string>()->default_value("auto"),
      "of the working weights: auto (as the checkpoint), fp32, bf16, or fp16 (on a GPU bf16)")(
      "batch-tokens", po::value<std::int64_t>()->default_value(4096), "tokens computed at a time")(
      "memory-limit", po::value<std::string>()->default_value("0"),
      "bytes that a rank may use, as 64G; 0: its share of the node's free memory")(
      "threads", po::value<std::int64_t>()->default_value(0),
      "threads per rank; 0: OMP_NUM_THREADS, or the rank's share of the node");
}

bool begin(const Communicator& world, Options& options, const std::vector<std::string>& words) {
  agree(world, [&] {
    options.parse(words);
    start_logging(options.get<std::string>("log-level"), world.rank());
  });
  if (options.flag("help")) print(world, options.help());
  if (options.flag("print-config")) print(world, options.resolved());
  return !options.flag("help") && !options.flag("print-config");
}

ops::Context make_context(const Communicator& world, const Options& options) {
  const int fallback = default_threads(world);
  const Device device = choose_device(world, options);
  return agree_on(world, [&] {
    const auto threads = options.get<std::int64_t>("threads");
    if (threads < 0 || threads > 4096)
      throw UsageError(fmt::format("{} threads", threads), "--threads", "give 1 or more");
    const CollectivesKind collectives = collectives_of(options);
    ops::Context context(device, threads > 0 ? static_cast<int>(threads) : fallback,
                         products_of(device, options));
    check_collectives(context, collectives);
    return context;
  });
}

int lanes_of(const Options& options) {
  const auto lanes = options.get<std::int64_t>("lanes");
  if (lanes < 0 || lanes > 1000000)
    throw UsageError("an impossible number of lanes", "--lanes", "give 0 or more");
  return static_cast<int>(lanes);
}

int shards_of(const Options& options, int ranks) {
  const auto shards = options.get<std::int64_t>("shards");
  if (shards < 1 || shards > ranks) {
    throw UsageError(fmt::format("{} shards on {} ranks", shards, ranks), "--shards",
                     "give 1 to the number of ranks");
  }
  check_shards(ranks, static_cast<int>(shards));
  return static_cast<int>(shards);
}

void declare_target(Options& options) {
  options.declared().add_options()("target-level", po::value<std::int64_t>(),
                                   "the size: this level on average, for each kind of module")(
      "target-params", po::value<std::int64_t>(), "or: at most so many parameters in all")(
      "target-sparsity", po::value<double>(), "or: this share of the prunable parameters goes, as 0.5");
}

SizeTarget target_of(const Options& options) {
  return {options.find<std::int64_t>("target-level"), options.find<std::int64_t>("target-params"),
          options.find<double>("target-sparsity")};
}

CollectivesKind collectives_of(const Options& options) {
  return collectives_kind(options.get<std::string>("collectives"));
}

MakeCollectives collectives_for(const ops::Context& context, const Options& options) {
  const bool checked = !options.flag("no-collectives-check");
  const auto batch_tokens = options.get<std::int64_t>("batch-tokens");
  const auto sequence_length = options.find<std::int64_t>("sequence-length").value_or(0);
  return [&context, kind = collectives_of(options), checked, batch_tokens, sequence_length,
          model = options.get<std::string>("model")](const Communicator& ranks) {
    std::unique_ptr<Collectives> collectives = make_collectives(ranks, context, kind);
    if (!checked || ranks.size() == 1) return collectives;
    // The hidden states of the largest batch.
    const std::int64_t largest = agree_on(ranks, [&] {
      const HfConfig config = read_hf_config(model);
      return config.hidden_size * std::max(batch_tokens, checked_sequence_length(sequence_length, config));
    });
    check_exchange(*collectives, context, static_cast<std::size_t>(std::max<std::int64_t>(largest, 1)));
    return collectives;
  };
}

std::optional<DType> precision_of(const Options& options) {
  const auto& name = options.get<std::string>("precision");
  if (name == "auto") return std::nullopt;
  for (const DType type : {DType::f32, DType::bf16, DType::f16}) {
    if (name == name_of(type)) return type;
  }
  throw UsageError("unknown precision '" + printable(name) + "'", "--precision",
                   "choose auto, fp32, bf16 or fp16");
}

std::vector<std::filesystem::path> paths_of(const std::vector<std::string>& names) {
  return {names.begin(), names.end()};
}

HfConfig NamedModel::shape() const {
  HfConfig own = config;
  if (database) own.layer_shapes = space.shapes(config, assignment);
  return own;
}

std::int64_t NamedModel::parameters() const {
  const HfConfig own = shape();
  return parameters_in_layers(own) + embedding_parameters(own) + head_parameters(own);
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
                                       const std::optional<std::string>& database,
                                       const std::optional<std::string>& assignment,
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
                                         const std::optional<std::string>& database) {
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

void print(const Communicator& world, const std::string& text) {
  if (!world.is_root()) return;
  std::fputs(text.c_str(), stdout);
  std::fflush(stdout);
}

}  // namespace galapagos::app
