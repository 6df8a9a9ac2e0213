#include "description.hpp"
#include "fuse.hpp"
#include "safetensors_exporter.hpp"
#include "tensors.hpp"
#include "write_export.hpp"

#include <fmt/format.h>
#include <map>
#include <memory>
#include <vector>

#include <galapagos/comm/agreement.hpp>
#include <galapagos/core/error.hpp>
#include <galapagos/core/file.hpp>
#include <galapagos/core/logging.hpp>
#include <galapagos/core/text.hpp>
#include <galapagos/export/stitch.hpp>
#include <galapagos/model/family_rules.hpp>
#include <galapagos/model/layer_tensors.hpp>
#include <galapagos/model/weights.hpp>

namespace galapagos {

namespace {

namespace fs = std::filesystem;

/// UsageError where zeros cannot stand for what is gone.
void check_zeros(const ExportFormat& format, const SearchSpace& space, const Assignment& assignment) {
  if (format.smaller) return;
  for (std::size_t i = 0; i < assignment.size(); ++i) {
    const ModuleChoices& module = space.modules[i];
    if (module.id.expert == no_expert || !module.gone[static_cast<std::size_t>(assignment[i])]) continue;
    throw UsageError(
        fmt::format("{} is gone, but zeros in its place would still be chosen", name_of(module.id)),
        std::string("--format ") + format.name,
        "give hf, or an assignment that keeps a column of each expert");
  }
}

/// A model in one of the formats, as far as it is without a byte of a weight.
struct Planned {
  const ExportFormat* format;
  std::unique_ptr<Exporter> exporter;
  ExportedModel model;
  std::vector<ExportFile> files;
  Json description;  ///< pruning.json
};

/// The rank that writes each of the model's tensors, by its name.
std::map<std::string, int> writers_of(const Communicator& comm, const Planned& planned) {
  std::map<std::string, int> writers;
  for (std::size_t f = 0; f < planned.files.size(); ++f) {
    for (const StoredTensor& tensor : planned.files[f].tensors)
      if (tensor.source) writers[planned.model.tensors[*tensor.source].name] = writer_of(f, comm.size());
  }
  return writers;
}

std::vector<int> owners_of(const Communicator& comm, const Planned& planned,
                           std::span<const ModuleId> modules) {
  std::map<std::string, int> writers = writers_of(comm, planned);
  std::vector<int> owners;
  for (const ModuleId& module : modules) owners.push_back(writers[name_of(module) + ".weight"]);
  return owners;
}

/// On the root: that nothing is there yet, and room for all of it.
void check_output(const StitchOptions& options, std::span<const Planned> all) {
  std::vector<ExportFile> files;
  for (const Planned& planned : all) files.insert(files.end(), planned.files.begin(), planned.files.end());
  check_export(options.output, files);
}

/// Collective. Levels that a rank has refitted go to the one that writes them in the next format.
void hand_over(const Communicator& comm, RefittedLevels& refitted, const SearchSpace& space,
               const Assignment& assignment, std::span<const ModuleId> modules, const std::vector<int>& from,
               const std::vector<int>& to, DType dtype) {
  constexpr int words_tag = 72;
  std::map<ModuleId, std::size_t> places;
  for (std::size_t i = 0; i < space.modules.size(); ++i) places[space.modules[i].id] = i;
  for (std::size_t m = 0; m < modules.size(); ++m) {
    const auto place = places.find(modules[m]);
    if (from[m] == to[m] || place == places.end()) continue;
    const auto level = static_cast<std::size_t>(assignment[place->second]);
    const std::int64_t kept = space.modules[place->second].kept.count(level);
    const std::size_t bytes = static_cast<std::size_t>(kept * space.hidden_size) * size_of(dtype);
    if (bytes == 0) continue;
    if (comm.rank() == from[m]) {
      comm.send(std::span<const std::byte>(refitted.words.at(modules[m])), to[m], words_tag);
    } else if (comm.rank() == to[m]) {
      std::vector<std::byte> words(bytes);
      comm.receive(std::span<std::byte>(words), from[m], words_tag);
      refitted.words[modules[m]] = std::move(words);
    }
  }
}

/// Collective. Writes what was planned, one format after the other; `before` each.
void write_formats(const Communicator& comm, const StitchOptions& options, std::vector<Planned>& all,
                   const std::function<void(const Planned&)>& before = {}) {
  const bool several = all.size() > 1;
  const fs::path part = part_path(options.output);
  if (several) {
    agree_at_root(comm, [&] {
      if (!fs::exists(options.output)) fs::remove_all(part);  // of a run that was stopped
      check_output(options, all);
      make_folders(part);
    });
  }
  for (Planned& planned : all) {
    if (before) before(planned);
    const fs::path folder = several ? part / planned.format->name : options.output;
    write_export(comm, *planned.exporter, planned.model, planned.files, folder);
  }
  if (several) agree_at_root(comm, [&] { publish_file(part, options.output); });
}

}  // namespace

void stitch(const Communicator& comm, const Checkpoint& checkpoint, const HfConfig& config,
            const DatabaseReader& database, const SearchSpace& space, const Assignment& assignment,
            const StitchOptions& options, const ops::Context& context) {
  RefittedLevels refitted;
  LevelSource levels{database.header().dtype, space.first_stored, {}};
  if (options.refit) {
    levels.first_stored = 0;
    levels.words = [&](const ModuleId& module, std::int64_t) { return refitted.words.at(module); };
  } else {
    levels.words = [&](const ModuleId& module, std::int64_t level) {
      return database.level_bytes(module, level, true);
    };
  }
  const std::vector<ModuleId> modules = database.header().modules();
  std::vector<Planned> all(options.formats.size());  // whose models exporters hold on to
  agree(comm, [&] {
    if (options.refit) check_reaches_stream(config, "--refit", "leave it out");
    for (std::size_t i = 0; i < all.size(); ++i) {
      const ExportFormat& format = *options.formats[i];
      Planned& planned = all[i];
      check_mixture(config, format);
      check_zeros(format, space, assignment);
      planned.format = &format;
      planned.exporter = format.exporter(options);
      planned.description = pruning_description(checkpoint.folder(), config, space, assignment, format);
      ExportedModel& model = planned.model;
      model.config = parse_hf_config(format.config(config, space.shapes(config, assignment)),
                                     (options.output / "config.json").string());
      model.parent = checkpoint.folder();
      model.tensors = plan_tensors(checkpoint, config, levels, space, assignment, format);
      if (format.family) model.tensors = as_stored(std::move(model.tensors), model.config);
      planned.files = planned.exporter->begin(model, options.shard_bytes);
    }
  });
  std::vector<int> owners;
  if (options.refit) {
    agree_at_root(comm, [&] { check_output(options, all); });
    owners = owners_of(comm, all.front(), modules);
    refitted = refit_levels(comm, context, *options.refit, checkpoint, config, database, assignment, owners);
    for (Planned& planned : all)
      planned.description["refit"] = refit_description(*options.refit, modules, refitted);
  }
  agree_at_root(comm, [&] {
    for (Planned& planned : all) {
      planned.model.texts = {{"config.json", planned.model.config.source.dump(2) + "\n"},
                             {"pruning.json", planned.description.dump() + "\n"},
                             {"assignment.txt", to_text(space, assignment)}};
    }
  });
  write_formats(comm, options, all, [&](const Planned& planned) {
    if (!options.refit) return;
    hand_over(comm, refitted, space, assignment, modules, owners, owners_of(comm, planned, modules),
              levels.dtype);
  });
  log_info("{} is complete: {} parameters", options.output.string(),
           human_count(static_cast<std::uint64_t>(space.parameters(assignment))));
}

namespace {

/// InputError where the checkpoint lacks a tensor of the model that it should be, or has one of another
/// shape.
void check_tensors(const Checkpoint& checkpoint, const HfConfig& config) {
  const auto check = [&](const std::string& name, const TensorSpec& spec, const Extents& extents) {
    const Shape shape = extents.shape(spec);
    Checkpoint::Shape expected;
    for (int i = 0; i < shape.rank(); ++i) expected.push_back(shape[i]);
    checkpoint.entry_of_shape(name, expected);
  };
  const Extents outside(config, even_layer_shape(0, 0, 0));
  check(layer_tensors::embedding.name, layer_tensors::embedding, outside);
  check(layer_tensors::final_norm.name, layer_tensors::final_norm, outside);
  if (!config.tie_word_embeddings) check(layer_tensors::head.name, layer_tensors::head, outside);
  for (std::int64_t layer = 0; layer < config.layers; ++layer) {
    const Extents extents(config, config.shape(layer));
    const auto check_part = [&](const auto& table, bool there) {
      for (const auto& tensor : table) {
        if (there && tensor.spec.present(config, config.shape(layer)))
          check(layer_tensor_name(layer, tensor.spec.name), tensor.spec, extents);
      }
    };
    check_part(layer_tensors::attention, config.shape(layer).heads() > 0);
    check_part(layer_tensors::feed_forward, config.shape(layer).columns > 0);
    const std::vector<std::int64_t>& experts = config.shape(layer).experts;
    for (std::size_t expert = 0; expert < experts.size(); ++expert) {
      const Extents own = Extents::of_expert(config, {0, experts[expert]});
      for (const auto& tensor : layer_tensors::expert)
        check(layer_tensor_name(layer, static_cast<std::int64_t>(expert), tensor.spec.name), tensor.spec,
              own);
    }
  }
}

}  // namespace

void convert_model(const Communicator& comm, const Checkpoint& checkpoint, const HfConfig& config,
                   const StitchOptions& options) {
  const SearchSpace space;
  std::vector<Planned> all(options.formats.size());
  agree(comm, [&] {
    check_tensors(checkpoint, config);
    for (std::size_t i = 0; i < all.size(); ++i) {
      const ExportFormat& format = *options.formats[i];
      const bool back = !format.smaller && config.pruned();
      Planned& planned = all[i];
      check_mixture(config, format);
      if (back) refuse_mixture(config, "the way back to unpruned shapes", "--format dense", "give hf");
      planned.format = &format;
      planned.exporter = back ? make_safetensors_exporter(unpruned()) : format.exporter(options);
      ExportedModel& model = planned.model;
      model.config = back ? config
                          : parse_hf_config(format.config(config, config.layer_shapes),
                                            (options.output / "config.json").string());
      model.parent = checkpoint.folder();
      model.tensors = plan_tensors(checkpoint, config, {}, space, {}, format);
      if (format.family && !back) model.tensors = as_stored(std::move(model.tensors), model.config);
      planned.files = planned.exporter->begin(model, options.shard_bytes);
    }
  });
  agree_at_root(comm, [&] {
    for (Planned& planned : all) {
      planned.model.texts = texts_of(checkpoint.folder(), {"pruning.json", "assignment.txt"});
      planned.model.texts["config.json"] = planned.model.config.source.dump(2) + "\n";
    }
  });
  write_formats(comm, options, all);
  log_info("{} is complete: {} parameters", options.output.string(),
           human_count(static_cast<std::uint64_t>(parameters_in_model(config))));
}

}  // namespace galapagos
