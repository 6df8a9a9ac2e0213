#include <algorithm>
#include <fmt/format.h>
#include <string>

#include <galapagos/core/error.hpp>
#include <galapagos/core/file.hpp>
#include <galapagos/core/logging.hpp>
#include <galapagos/io/end_ids.hpp>

namespace galapagos {
namespace {

/// False where nothing is said of them.
bool add_ids(const Json& json, const HfConfig& config, const std::string& where,
             std::vector<std::int32_t>& ids) {
  constexpr const char* key = "eos_token_id";
  if (!json.is_object() || json_absent(json, key)) return false;
  const Json all = json[key].is_array() ? json[key] : Json::array({json[key]});
  for (const Json& one : all) {
    if (one.is_number_integer() && one == -1) continue;  // some write that for none
    if (!one.is_number_integer())
      throw InputError(fmt::format("{} is {}, no id", key, printable(one.dump(-1, ' ', true), 40)), where,
                       "correct it");
    if (one < 0 || one >= config.vocab_size) {  // which the model never writes
      log_warning_once(fmt::format("{}: {} {} is outside the vocabulary of {}: ignored", where, key,
                                   one.dump(), config.vocab_size));
      continue;
    }
    const auto id = one.get<std::int32_t>();
    if (std::ranges::find(ids, id) == ids.end()) ids.push_back(id);
  }
  return true;
}

}  // namespace

std::vector<std::int32_t> read_end_ids(const std::filesystem::path& folder, const HfConfig& config) {
  std::vector<std::int32_t> ids;
  const std::filesystem::path generation = folder / "generation_config.json";
  if (std::filesystem::exists(generation)) {
    constexpr std::uint64_t most_bytes = std::uint64_t{16} << 20;
    const Json said = parse_json_leniently(read_file(generation, most_bytes), generation.string());
    if (add_ids(said, config, generation.string(), ids)) return ids;
  }
  add_ids(config.source, config, (folder / "config.json").string(), ids);
  if (config.eos_id && std::ranges::find(ids, *config.eos_id) == ids.end())
    ids.push_back(static_cast<std::int32_t>(*config.eos_id));
  return ids;
}

}  // namespace galapagos
