#include <fmt/format.h>
#include <fstream>
#include <string>

#include <galapagos/core/error.hpp>
#include <galapagos/core/json.hpp>
#include <galapagos/io/score_requests.hpp>

namespace galapagos {
namespace {

void append_ids(const Json& request, const char* key, const HfConfig& config, const std::string& where,
                TokenSet& tokens) {
  if (!request.contains(key) || !request[key].is_array() || request[key].empty()) {
    throw InputError(fmt::format("no ids under '{}'", key), where,
                     R"(write {"context": [1, 2], "continuation": [3]}, both with at least one id)");
  }
  for (const Json& id : request[key]) {
    if (!id.is_number_integer() || id < 0 || id >= config.vocab_size) {
      throw InputError(fmt::format("'{}' holds {}, no id below {}", key,
                                   printable(id.dump(-1, ' ', true), 40), config.vocab_size),
                       where, "use the tokenizer of this model");
    }
    tokens.tokens.push_back(id.get<std::int32_t>());
  }
}

}  // namespace

ScoreRequests read_score_requests(const std::filesystem::path& path, const HfConfig& config) {
  std::ifstream lines(path);
  if (!lines) throw InputError("cannot open the requests", path.string(), "check the path given to --score");
  ScoreRequests requests;
  std::int64_t number = 0;
  for (std::string line; std::getline(lines, line);) {
    const std::string where = fmt::format("{}, line {}", path.string(), ++number);
    if (line.empty()) continue;
    const Json request = parse_json(line, where);
    if (!request.is_object()) throw InputError("is no JSON object", where, "write one object per line");
    const std::uint64_t begin = requests.tokens.tokens.size();
    append_ids(request, "context", config, where, requests.tokens);
    requests.context.push_back(static_cast<std::int64_t>(requests.tokens.tokens.size() - begin));
    append_ids(request, "continuation", config, where, requests.tokens);
    const auto length = static_cast<std::int64_t>(requests.tokens.tokens.size() - begin);
    if (length > config.longest_sequence() + 1) {  // the last id is only predicted
      throw InputError(
          fmt::format("{} ids, the model takes {} and one more", length, config.longest_sequence()), where,
          "cut the context from the left");
    }
    requests.tokens.offsets.push_back(requests.tokens.tokens.size());
  }
  if (requests.context.empty()) throw InputError("no requests", path.string(), "write one object per line");
  return requests;
}

}  // namespace galapagos
