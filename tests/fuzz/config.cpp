#include "target.hpp"

#include <galapagos/io/end_ids.hpp>
#include <galapagos/io/hf_config.hpp>

// config.json and generation_config.json.
namespace galapagos::fuzz {
namespace {

void read(std::string_view input) {
  static const Folder folder;
  const auto parts = cut(input, 2);
  folder.write("config.json", parts[0]);
  folder.write("generation_config.json", parts[1], true);
  const HfConfig config = read_config_alone(folder.path());
  Json json = config.source;
  describe_attention(config, json);
  if (config.longest_sequence() < 1) throw std::logic_error("a model for no token");
  read_end_ids(folder.path(), config);
}

const Target target("config", read);

}  // namespace
}  // namespace galapagos::fuzz
