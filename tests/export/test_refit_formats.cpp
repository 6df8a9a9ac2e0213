#include "gguf_reader.hpp"
#include "parent.hpp"
#include "support/catch.hpp"

#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include <galapagos/core/file.hpp>
#include <galapagos/export/stitch.hpp>
#include <galapagos/io/safetensors.hpp>

// A refitted level lies on the rank that writes it in the first format; in the next ones others may write it.

using namespace galapagos;
using test::GgufFile;
using test::Parent;

namespace {

namespace fs = std::filesystem;

StitchOptions refitting(const fs::path& output, std::vector<const ExportFormat*> formats) {
  StitchOptions options;
  options.output = output;
  options.formats = std::move(formats);
  options.gguf_type = GgufType::f32;
  options.shard_bytes = 20000;  // many files
  options.refit.emplace();
  options.refit->calibration = {test::data_file("text/sample.jsonl")};
  options.refit->calibration_tokens = 500;
  options.refit->sequence_length = 128;
  options.refit->batch_tokens = 512;  // one batch, on one rank: sums are the same bits on any number of them
  options.refit->precision = DType::f32;
  options.refit->ridge = Compensation{1.0};
  return options;
}

/// All files of a folder, by their names.
std::map<std::string, std::string> contents(const fs::path& folder) {
  std::map<std::string, std::string> found;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    if (entry.is_regular_file()) found[fs::relative(entry.path(), folder).string()] = read_file(entry.path());
  }
  return found;
}

/// Of each file of weights the tensors' names, in the order in which files are dealt to ranks.
std::vector<std::vector<std::string>> names_in_files(const fs::path& folder) {
  std::vector<fs::path> paths;
  for (const auto& entry : fs::directory_iterator(folder)) {
    const fs::path kind = entry.path().extension();
    if (kind == ".gguf" || kind == ".safetensors") paths.push_back(entry.path());
  }
  std::ranges::sort(paths);
  std::vector<std::vector<std::string>> files;
  for (const fs::path& path : paths) {
    std::vector<std::string>& names = files.emplace_back();
    if (path.extension() == ".gguf") {
      const GgufFile file(path);
      for (const auto& [name, stored] : file.tensors) names.push_back(name);
    } else {
      const SafetensorsFile file(path);
      for (const TensorEntry& entry : file.entries()) names.push_back(entry.name);
    }
  }
  return files;
}

/// The rank that has written a module's weight; -1 where it is not there.
int writer_of(const std::vector<std::vector<std::string>>& files, const ModuleId& module, int ranks) {
  const bool attention = module.kind == ModuleKind::attention;
  const std::string layer = std::to_string(module.layer),
                    in_gguf = "blk." + layer + (attention ? ".attn_output.weight" : ".ffn_down.weight"),
                    elsewhere = name_of(module) + ".weight";
  for (std::size_t f = 0; f < files.size(); ++f) {
    for (const std::string& name : files[f])
      if (name == in_gguf || name == elsewhere) return static_cast<int>(f) % ranks;
  }
  return -1;
}

}  // namespace

TEST_CASE("a refit is the same bytes in several formats at once as in each alone", "[refit]") {
  const Communicator world = Communicator::world();
  const Communicator one = world.split(world.rank(), 0);
  const test::SharedFolder folder(world);
  const Parent parent = test::small_parent(world, "llama3_tiny", folder);
  const Assignment assignment = test::with_holes(parent.space);
  const auto write = [&](const Communicator& comm, const StitchOptions& options) {
    stitch(comm, parent.checkpoint, parent.config, parent.database, parent.space, assignment, options);
  };
  if (world.is_root()) {
    for (const ExportFormat* format : export_formats_of({"hf", "gguf", "dense", "decilm"}))
      write(one, refitting(folder / ("alone_" + std::string(format->name)), {format}));
  }
  world.barrier();
  // The refit leaves levels with the writers of the format that comes first.
  for (const std::vector<std::string>& names :
       {std::vector<std::string>{"hf", "gguf", "dense", "decilm"}, {"gguf", "hf"}}) {
    const fs::path output = folder / ("of_" + names.front());
    write(world, refitting(output, export_formats_of(names)));
    const auto first = names_in_files(output / names.front());
    for (const std::string& name : names) {
      CAPTURE(names.front(), name);
      CHECK(contents(output / name) == contents(folder / ("alone_" + name)));
      if (name == names.front() || world.size() == 1) continue;
      const auto files = names_in_files(output / name);
      int moved = 0;
      for (const ModuleChoices& module : parent.space.modules) {
        const int from = writer_of(first, module.id, world.size()),
                  to = writer_of(files, module.id, world.size());
        moved += from >= 0 && to >= 0 && from != to ? 1 : 0;
      }
      CHECK(moved > 1);
    }
    world.barrier();
  }
}
