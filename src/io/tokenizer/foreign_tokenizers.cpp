#include "foreign_tokenizers.hpp"

#include <algorithm>
#include <string>

#include <galapagos/core/error.hpp>

namespace galapagos {
namespace {

[[noreturn]] void refuse_tiktoken_file(const std::filesystem::path& file) {
  throw InputError(
      "is a tiktoken vocabulary, which does not say how text is cut and is not read", file.string(),
      "put the model's tokenizer.json in its place; where it has none, "
      "transformers.integrations.tiktoken.convert_tiktoken_to_fast makes one of the tiktoken encoding, "
      "or tokenize elsewhere into Megatron .bin/.idx");
}

[[noreturn]] void refuse_tekken(const std::filesystem::path& file) {
  throw InputError("is Mistral's tekken.json, which is not read", file.string(),
                   "put a tokenizer.json of the same model in its place, perhaps from a mirror of it, or "
                   "tokenize elsewhere "
                   "into Megatron .bin/.idx");
}

[[noreturn]] void refuse_vocabulary(const std::filesystem::path& file) {
  throw InputError("is the vocab.json of an older model, not its tokenizer.json", file.string(),
                   "make that of the model's folder with transformers: "
                   "AutoTokenizer.from_pretrained(DIR).save_pretrained(DIR)");
}

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

bool is_base64(char c) {
  return is_digit(c) || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '+' || c == '/' || c == '=';
}

}  // namespace

void refuse_foreign_name(const std::filesystem::path& file) {
  if (file.extension() == ".tiktoken" || file.filename() == "tiktoken.model") refuse_tiktoken_file(file);
  if (file.filename() == "tekken.json") refuse_tekken(file);
}

void refuse_foreign_folder(const std::filesystem::path& folder) {
  for (const auto& entry : std::filesystem::directory_iterator(folder)) refuse_foreign_name(entry.path());
  const auto vocabulary = folder / "vocab.json";
  if (std::filesystem::exists(vocabulary) && std::filesystem::exists(folder / "merges.txt"))
    refuse_vocabulary(vocabulary);
}

void refuse_tiktoken(std::string_view content, const std::filesystem::path& file) {
  const std::string_view line = content.substr(0, content.find('\n'));
  const std::size_t space = line.find(' ');
  if (space == 0 || space == std::string_view::npos || space + 1 == line.size()) return;
  std::string_view rank = line.substr(space + 1);
  if (rank.ends_with('\r')) rank.remove_suffix(1);
  if (std::ranges::all_of(line.substr(0, space), is_base64) && std::ranges::all_of(rank, is_digit))
    refuse_tiktoken_file(file);
}

void refuse_foreign_json(const Json& document, const std::filesystem::path& file) {
  if (!document.is_object() || document.empty()) return;
  if (!json_absent(document, "model") && document["model"].is_object()) return;
  if (document.contains("config") && document.contains("vocab") && document["vocab"].is_array())
    refuse_tekken(file);
  if (std::ranges::all_of(document, [](const Json& id) { return id.is_number_integer(); }))
    refuse_vocabulary(file);
}

}  // namespace galapagos
