#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <utility>

#include <galapagos/assignment/space.hpp>
#include <galapagos/comm/agreement.hpp>
#include <galapagos/core/error.hpp>
#include <galapagos/pruning/assignment_text.hpp>
#include <galapagos/pruning/pruned_module.hpp>

namespace galapagos {

std::size_t first_difference(const Assignment& a, const Assignment& b) {
  return static_cast<std::size_t>(std::mismatch(a.begin(), a.end(), b.begin()).first - a.begin());
}

namespace {

/// KV heads that are left of attention; 0 of a feed-forward part.
std::int64_t kv_heads_of_module(const HfConfig& config, const ModuleId& module,
                                std::span<const std::int64_t> kept) {
  if (module.kind == ModuleKind::ffn) return 0;
  const KeptHeads heads = kept_heads(config.shape(module.layer).kv_of_head, config.head_dim, kept);
  return static_cast<std::int64_t>(heads.kv_heads.size());
}

}  // namespace

std::int64_t parameters_of_module(const HfConfig& config, const ModuleId& module,
                                  std::span<const std::int64_t> kept) {
  const auto columns = static_cast<std::int64_t>(kept.size());
  if (module.expert != no_expert) return columns == 0 ? 0 : expert_parameters(config, columns);
  if (module.kind == ModuleKind::ffn) return ffn_parameters(config, columns);
  return attention_parameters(config, columns / config.head_dim, kv_heads_of_module(config, module, kept));
}

namespace {

void check_usable(const DatabaseReader& database, const HfConfig& config, const std::string& fingerprint) {
  const DatabaseHeader& header = database.header();
  if (!database.complete()) {
    throw InputError("the database is unfinished", "--database",
                     "finish it: run the command that began it again");
  }
  if (header.config.source != config.source || header.model_fingerprint != fingerprint) {
    throw InputError(fmt::format("the database was made from another model (fingerprint {}, this one has {})",
                                 header.model_fingerprint, fingerprint),
                     "--database", "give the model that the database was made from");
  }
}

/// What the levels of a module cost in end loss; nothing where the database does not say.
std::vector<double> checked_end_loss(const DatabaseReader& database, const ModuleId& module) {
  std::vector<double> loss = database.end_loss(module);
  for (std::size_t level = 0; level < loss.size(); ++level) {
    const bool may_fall = !database.header().end_loss_from.empty();
    if (std::isfinite(loss[level]) && (loss[level] >= 0 || may_fall)) continue;
    throw InputError(fmt::format("the end loss of {} at level {} is {}", name_of(module), level, loss[level]),
                     "--database", "make it again by the command that has made it");
  }
  return loss;
}

}  // namespace

Assignment SearchSpace::of_every_module(const Assignment& assignment) const {
  if (!whole) return assignment;
  Assignment levels;
  for (const std::size_t module : follows) levels.push_back(assignment[module]);
  return levels;
}

std::int64_t SearchSpace::parameters(const Assignment& assignment) const {
  if (whole) return whole->parameters(of_every_module(assignment));
  std::int64_t sum = fixed_parameters;
  for (std::size_t i = 0; i < modules.size(); ++i) {
    sum += modules[i].parameters[static_cast<std::size_t>(assignment[i])];
  }
  // A mixture without experts has no norm.
  for (std::size_t i = 0; i < modules.size();) {
    bool gone = modules[i].id.expert != no_expert;
    const std::size_t begin = i;
    for (; i < modules.size() && part_begin(i) == begin; ++i)
      gone = gone && modules[i].gone[static_cast<std::size_t>(assignment[i])];
    if (gone) sum -= hidden_size;
  }
  return sum;
}

std::size_t SearchSpace::part_begin(std::size_t at) const {
  if (at >= modules.size() || modules[at].id.expert == no_expert) return at;
  return at - static_cast<std::size_t>(modules[at].id.expert);
}

std::vector<std::size_t> SearchSpace::part_begins() const {
  std::vector<std::size_t> begins;
  for (std::size_t i = 0; i < modules.size(); ++i)
    if (part_begin(i) == i) begins.push_back(i);
  begins.push_back(modules.size());
  return begins;
}

bool SearchSpace::parts_in_pairs() const {
  const std::vector<std::size_t> begins = part_begins();
  for (std::size_t p = 0; p + 1 < begins.size(); ++p)
    if (modules[begins[p]].id.layer != static_cast<std::int64_t>(p / 2)) return false;
  return begins.size() % 2 == 1;
}

std::int64_t SearchSpace::dense_parameters() const {
  std::int64_t sum = 0;
  for (const ModuleChoices& module : modules) sum += module.parameters.front();
  return sum;
}

std::int64_t SearchSpace::smallest_parameters() const {
  std::int64_t sum = 0;
  for (const ModuleChoices& module : modules) sum += module.parameters.back();
  return sum;
}

double SearchSpace::predicted_loss(const Assignment& assignment) const {
  double sum = 0;
  for (std::size_t i = 0; i < modules.size(); ++i) {
    sum += modules[i].end_loss[static_cast<std::size_t>(assignment[i])];
  }
  return sum;
}

std::vector<LayerShape> SearchSpace::shapes(const HfConfig& config, const Assignment& assignment) const {
  if (whole) return whole->shapes(config, of_every_module(assignment));
  std::vector<LayerShape> shapes = config.layer_shapes;
  for (std::size_t i = 0; i < modules.size(); ++i) {
    const ModuleId& id = modules[i].id;
    const auto level = static_cast<std::size_t>(assignment[i]);
    const std::int64_t kept = modules[i].kept.count(level);
    LayerShape& shape = shapes[static_cast<std::size_t>(id.layer)];
    if (id.expert != no_expert) {
      if (id.expert == 0) shape.columns = 0, shape.experts.clear();
      shape.columns += kept;
      if (!modules[i].gone[level]) shape.experts.push_back(kept);
    } else if (id.kind == ModuleKind::ffn) {
      shape.columns = kept;
    } else {
      KeptHeads heads =
          kept_heads(config.shape(id.layer).kv_of_head, config.head_dim, modules[i].kept[level]);
      shape.kv_heads = static_cast<std::int64_t>(heads.kv_heads.size());
      shape.kv_of_head = std::move(heads.kv_of_head);
    }
  }
  return shapes;
}

void choose_only(SearchSpace& space, ModuleKind kind) {
  for (ModuleChoices& module : space.modules) {
    if (module.id.kind == kind) continue;
    const auto first_alone = [](auto& levels) {
      if (!levels.empty()) levels.erase(levels.begin() + 1, levels.end());
    };
    if (module.kept.size() > 0) {
      KeptColumns whole;
      whole.push_back(module.kept[0]);
      module.kept = std::move(whole);
    }
    first_alone(module.gone);
    first_alone(module.kv_heads);
    first_alone(module.end_loss);
    first_alone(module.parameters);
    space.fixed_parameters += std::exchange(module.parameters.front(), 0);
  }
}

std::int64_t fixed_parameters(const HfConfig& config) {
  std::int64_t sum = parameters_outside_layers(config);
  for (const LayerShape& shape : config.layer_shapes)
    if (shape.mixture()) sum += config.hidden_size;
  return sum;
}

SearchSpace load_space(const Communicator& comm, const DatabaseReader& database, const HfConfig& config,
                       const std::string& fingerprint) {
  const DatabaseHeader& header = database.header();
  std::vector<std::int32_t> orders;
  std::vector<double> end_losses;
  agree_at_root(comm, [&] {
    check_usable(database, config, fingerprint);
    for (const ModuleId& module : header.modules()) {
      const std::vector<std::int32_t> order = database.order(module);
      orders.insert(orders.end(), order.begin(), order.end());
      const std::vector<double> loss = checked_end_loss(database, module);
      end_losses.insert(end_losses.end(), loss.begin(), loss.end());
    }
  });
  comm.broadcast(orders);
  comm.broadcast(end_losses);
  return make_space(header, orders, end_losses);
}

SearchSpace make_space(const DatabaseHeader& header, std::span<const std::int32_t> orders,
                       std::span<const double> end_losses) {
  const HfConfig& config = header.config;
  SearchSpace space;
  space.fixed_parameters = fixed_parameters(config);
  space.first_stored = header.first_stored();
  space.hidden_size = config.hidden_size;
  space.head_dim = config.head_dim;
  space.vocab_size = config.vocab_size;
  space.stored = header.dtype;
  auto next = orders.begin();
  for (const ModuleId& module : header.modules()) {
    const std::vector<std::int64_t>& levels = header.removed(module);
    const std::vector<std::int32_t> order(next, next + levels.back());
    next += levels.back();
    ModuleChoices choices;
    choices.id = module;
    choices.kept = KeptColumns(header.layout(module), order, levels);
    for (std::size_t level = 0; level < levels.size(); ++level) {
      const std::vector<std::int64_t> kept = choices.kept[level];
      choices.parameters.push_back(parameters_of_module(config, module, kept));
      choices.kv_heads.push_back(kv_heads_of_module(config, module, kept));
      choices.gone.push_back(kept.empty());
    }
    if (!end_losses.empty()) {
      choices.end_loss.assign(end_losses.begin(),
                              end_losses.begin() + static_cast<std::ptrdiff_t>(levels.size()));
      end_losses = end_losses.subspan(levels.size());
    }
    space.modules.push_back(std::move(choices));
  }
  return space;
}

std::string to_text(const SearchSpace& space, const Assignment& assignment) {
  if (space.whole) return to_text(*space.whole, space.of_every_module(assignment));
  std::string text;
  for (const ModuleKind kind : {ModuleKind::ffn, ModuleKind::attention}) {
    for (std::size_t i = 0; i < space.modules.size(); ++i) {
      if (space.modules[i].id.kind != kind) continue;
      text += fmt::format("{}: {}\n", name_of(space.modules[i].id), assignment[i]);
    }
  }
  return text;
}

namespace {

/// The levels of a space's modules from those of all that they stand for.
Assignment of_tied(const SearchSpace& space, const Assignment& levels, const std::filesystem::path& path) {
  Assignment assignment(space.modules.size(), -1);
  std::vector<std::size_t> first(space.modules.size());
  for (std::size_t i = 0; i < levels.size(); ++i) {
    std::int16_t& level = assignment[space.follows[i]];
    if (level < 0) {
      level = levels[i];
      first[space.follows[i]] = i;
    }
    if (level == levels[i]) continue;
    throw InputError(fmt::format("{} is at level {} and {} at level {}, which were to be equal",
                                 name_of(space.whole->modules[first[space.follows[i]]].id), level,
                                 name_of(space.whole->modules[i].id), levels[i]),
                     path.string(), "give another assignment, or --experts free");
  }
  return assignment;
}

}  // namespace

Assignment read_assignment(const SearchSpace& space, const std::filesystem::path& path) {
  if (space.whole) return of_tied(space, read_assignment(*space.whole, path), path);
  std::vector<ModuleId> modules;
  std::vector<std::int16_t> last;
  for (const ModuleChoices& module : space.modules) {
    modules.push_back(module.id);
    last.push_back(module.last());
  }
  return read_assignment_text(modules, last, path);
}

}  // namespace galapagos
