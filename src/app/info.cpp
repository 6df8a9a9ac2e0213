#include "info.hpp"

#include "command.hpp"

#include <galapagos/comm/agreement.hpp>
#include <galapagos/io/mds.hpp>
#include <galapagos/io/token_file.hpp>
#include <galapagos/search/latency_table.hpp>

namespace galapagos::app {
namespace {

Description describe(const std::filesystem::path& path, bool verify) {
  if (is_mds_folder(path)) return describe_shards(path);
  if (std::filesystem::is_directory(path)) return describe_model(path);
  const std::string name = path.string();
  if (name.ends_with(".h5") || name.ends_with(".h5.part"))
    return is_sensitivity(path) ? describe_sensitivity(path) : describe_database(path, verify);
  if (is_latency_table(path)) return describe_latencies(path);
  if (is_token_file(path)) return describe_tokens(path);
  if (!std::filesystem::exists(path))
    throw InputError("there is no such file or folder", name, "check the path");
  throw InputError("not a kind of file that Galapagos knows", name,
                   "give a model's folder, a database or sensitivities (.h5, .h5.part), a token file (.bin), "
                   "a table of latencies (.csv) or a folder of MDS shards");
}

}  // namespace

void info(const Communicator& world, const std::vector<std::string>& words) {
  std::optional<std::filesystem::path> path;
  bool json = false, verify = false;
  std::string log_level = "info";
  Options options;
  options.describe("info", "what a model's folder, a token file, a database or a file of sensitivities holds",
                   "path");
  options.add("path", path, "what to look at (the word after 'info')");
  options.add("json", json, "print JSON");
  options.add("verify", verify, "check every checksum of a database");
  bind_log_level(options, log_level);
  if (!begin(world, options, words)) return;
  agree_at_root(world, [&] {
    options.take();
    if (!path) {
      throw UsageError("nothing to look at", "galapagos info",
                       "give a model's folder, a database or a token file");
    }
    const Description description = describe(*path, verify);
    print(world, json ? description.json.dump(2) + "\n" : description.text);
  });
}

}  // namespace galapagos::app
