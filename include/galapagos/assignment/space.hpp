#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include <galapagos/assignment/kept_columns.hpp>
#include <galapagos/comm/communicator.hpp>
#include <galapagos/pruning/database.hpp>

namespace galapagos {

/// A level for every module, in the order of SearchSpace::modules.
using Assignment = std::vector<std::int16_t>;

/// One module as the search sees it: what each of its levels leaves.
struct ModuleChoices {
  ModuleId id;
  KeptColumns kept;                      ///< at levels 0, 1, ...
  std::vector<std::int64_t> parameters;  ///< of the whole attention or feed-forward part at each level, or of
                                         ///< an expert with its row of the router
  std::vector<double> end_loss = {};     ///< of each level, nats per token; empty where the database has none
  std::vector<std::int64_t> kv_heads = {};  ///< KV heads left at each level, 0 of a feed-forward part
  std::vector<bool> gone = {};              ///< of each level, whether nothing is left, on any shard

  std::int16_t last() const { return static_cast<std::int16_t>(parameters.size() - 1); }
};

/// All modules with their levels, and the parameters that no level changes.
struct SearchSpace {
  std::vector<ModuleChoices> modules;
  std::int64_t fixed_parameters = 0;  ///< embedding, head and final norm, and those of mixtures
  std::int64_t first_stored = 1;      ///< as of DatabaseHeader: modules below it are the model's own
  std::int64_t hidden_size = 0, head_dim = 0, vocab_size = 0;  ///< of the model
  DType stored = DType::f32;                                   ///< of the checkpoint's weights
  bool assumed = false;  ///< the orders of removal are made up, for a plan: which KV heads stay is a guess
  /// Where a module here stands for several: all of them, and for each the one here whose level it has.
  std::shared_ptr<const SearchSpace> whole = {};
  std::vector<std::size_t> follows = {};

  /// The space of all modules, as the model and its database have them.
  const SearchSpace& every_module() const { return whole ? *whole : *this; }
  /// The levels of every_module().
  Assignment of_every_module(const Assignment& assignment) const;
  std::int64_t parameters(const Assignment& assignment) const;
  /// The prunable ones: of all attention and feed-forward parts, unpruned.
  std::int64_t dense_parameters() const;
  std::int64_t smallest_parameters() const;
  /// Whether the database says what levels cost in end loss.
  bool has_end_losses() const { return !modules.empty() && !modules.front().end_loss.empty(); }
  /// What an assignment is predicted to lose, nats per token: the sum of its levels' end losses.
  double predicted_loss(const Assignment& assignment) const;
  /// The first module of the part that module `at` belongs to: the experts of a layer are computed at a time.
  std::size_t part_begin(std::size_t at) const;
  /// The first modules of all parts, and the number of modules.
  std::vector<std::size_t> part_begins() const;
  /// Whether parts 2 l and 2 l + 1 are those of layer l, as where none stands for several layers.
  bool parts_in_pairs() const;
  /// Shapes of all layers under an assignment.
  std::vector<LayerShape> shapes(const HfConfig& config, const Assignment& assignment) const;
};

/// Keeps all modules of other kinds whole: level 0 is all that is left to choose of them, and their
/// parameters are among those that no level changes.
void choose_only(SearchSpace& space, ModuleKind kind);

/// The first module at which two assignments differ; their number of modules where none does.
std::size_t first_difference(const Assignment& a, const Assignment& b);

/// Parameters that no level of any module changes: outside of layers, and the norms of mixtures.
std::int64_t fixed_parameters(const HfConfig& config);

/// Parameters of an attention or feed-forward part, or of an expert with its row of the router, of which some
/// columns of o_proj or down_proj are kept.
std::int64_t parameters_of_module(const HfConfig& config, const ModuleId& module,
                                  std::span<const std::int64_t> kept);

/// The space of a database whose modules lose their structures in the given orders, one after the other, and
/// whose levels have the given end losses, likewise, or none.
SearchSpace make_space(const DatabaseHeader& header, std::span<const std::int32_t> orders,
                       std::span<const double> end_losses = {});

/// Collective. Reads the orders of removal and the end losses of a complete database once and gives them to
/// every rank. InputError where the database is unfinished or made from another model than `config` and
/// `fingerprint` say, or an end loss is no number or negative where it cannot be.
SearchSpace load_space(const Communicator& comm, const DatabaseReader& database, const HfConfig& config,
                       const std::string& fingerprint);

/// The text of an assignment: a line "model.layers.3.mlp.down_proj: 5" for every module, feed-forward parts
/// first.
std::string to_text(const SearchSpace& space, const Assignment& assignment);

/// Reads an assignment; InputError naming the line or module where one is unknown, missing, given twice, or
/// its level out of range or not that of those that it has to be equal to.
Assignment read_assignment(const SearchSpace& space, const std::filesystem::path& path);

}  // namespace galapagos
