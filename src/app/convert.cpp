#include "command.hpp"

#include <galapagos/comm/agreement.hpp>
#include <galapagos/core/hash.hpp>
#include <galapagos/model/family_rules.hpp>
#include <galapagos/pruning/darwinlm.hpp>

namespace galapagos::app {
namespace {

void import(const Communicator& world, const std::filesystem::path& folder,
            const std::filesystem::path& darwinlm, const std::filesystem::path& output) {
  const auto model = open_modules(world, folder, std::nullopt);
  agree(world,
        [&] { refuse_mixture(model->config, "DarwinLM's form", folder.string(), "give a dense model"); });
  std::string fingerprint;
  agree_at_root(world, [&] { fingerprint = hex64(model->checkpoint->fingerprint()); });
  import_darwinlm(world, *model->checkpoint, model->config, world.broadcast_string(fingerprint), darwinlm,
                  output);
}

}  // namespace

void convert(const Communicator& world, const std::vector<std::string>& words) {
  std::filesystem::path model, output;
  std::optional<std::filesystem::path> darwinlm, database;
  std::string log_level = "info";
  Options options;
  options.describe("convert", "makes a database of DarwinLM's files, or such files of a database");
  options.add("model", model, "folder of the unpruned model", {.required = true});
  options.add("darwinlm", darwinlm, "folder that DarwinLM's struct_prune.py has written; --output is X.h5");
  options.add("database", database, "or: a database, X.h5; --output is a new folder for DarwinLM's programs");
  options.add("output", output, "the database or the folder", {.required = true});
  bind_log_level(options, log_level);
  if (!begin(world, options, words)) return;
  agree(world, [&] {
    options.require_all();
    options.take();
    options.check();
    if (darwinlm.has_value() == database.has_value())
      throw UsageError("what to convert is to be one of the two", "--darwinlm, --database",
                       "give one of them");
    if (!output.has_filename()) output = output.parent_path();  // "X/" is X
  });
  if (darwinlm) return import(world, model, *darwinlm, output);
  const auto named = open_modules(world, model, database);
  agree(world,
        [&] { refuse_mixture(named->config, "DarwinLM's form", model.string(), "give a dense model"); });
  export_darwinlm(world, *named->checkpoint, *named->database, output);
}

}  // namespace galapagos::app
