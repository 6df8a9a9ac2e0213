#include "info.hpp"

#include "command.hpp"

#include <galapagos/comm/agreement.hpp>
#include <galapagos/io/token_file.hpp>

namespace galapagos::app {
namespace po = boost::program_options;
namespace {

Description describe(const std::filesystem::path& path, bool verify) {
  if (std::filesystem::is_directory(path)) return describe_model(path);
  const std::string name = path.string();
  if (name.ends_with(".h5") || name.ends_with(".h5.part"))
    return is_sensitivity(path) ? describe_sensitivity(path) : describe_database(path, verify);
  if (is_token_file(path)) return describe_tokens(path);
  if (!std::filesystem::exists(path))
    throw InputError("there is no such file or folder", name, "check the path");
  throw InputError(
      "not a kind of file that Galapagos knows", name,
      "give a model's folder, a database or sensitivities (.h5, .h5.part) or a token file (.bin)");
}

}  // namespace

void info(const Communicator& world, const std::vector<std::string>& words) {
  Options options("info", "what a model's folder, a token file, a database or a file of sensitivities holds",
                  "path");
  options.declared().add_options()("path", po::value<std::string>(),
                                   "what to look at (the word after 'info')")(
      "json", po::bool_switch(), "print JSON")("verify", po::bool_switch(),
                                               "check every checksum of a database");
  declare_common(options, false);
  if (!begin(world, options, words)) return;
  agree_at_root(world, [&] {
    if (!options.has("path")) {
      throw UsageError("nothing to look at", "galapagos info",
                       "give a model's folder, a database or a token file");
    }
    const Description description = describe(options.get<std::string>("path"), options.flag("verify"));
    print(world, options.flag("json") ? description.json.dump(2) + "\n" : description.text);
  });
}

}  // namespace galapagos::app
