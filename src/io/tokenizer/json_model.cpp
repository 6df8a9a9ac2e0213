#include "json_model.hpp"

#include <utility>

#include <galapagos/core/error.hpp>

namespace galapagos {
namespace {

constexpr const char* elsewhere = "tokenize elsewhere into Megatron .bin/.idx and give those files";

bool flag(const Json& model, const char* key, const std::string& where) {
  return !json_absent(model, key) && json_bool(model, key, where);
}

std::string text_or_none(const Json& model, const char* key, const std::string& where) {
  return json_absent(model, key) ? "" : json_string(model, key, where);
}

/// Files of before the tokenizers' version 0.9 do not name it.
std::string type_of(const TokenizerFile& file, const Json& model, const std::string& where) {
  if (!json_absent(model, "type")) return json_string(model, "type", where);
  if (!file.pieces.empty()) return "Unigram";
  if (!file.merges.empty()) return "BPE";
  return json_absent(model, "max_input_chars_per_word") ? "WordLevel" : "WordPiece";
}

Bpe make_bpe(TokenizerFile& file, const Json& model, bool byte_level, const std::string& where) {
  if (!json_absent(model, "dropout") && json_number(model, "dropout", where) != 0) {
    throw InputError("model: 'dropout', which takes merges by chance, is not supported", where,
                     "set it to null in the file");
  }
  BpeSettings settings;
  settings.byte_level = byte_level;
  settings.byte_fallback = flag(model, "byte_fallback", where);
  settings.fuse_unk = flag(model, "fuse_unk", where);
  settings.ignore_merges = flag(model, "ignore_merges", where);
  settings.continuing_prefix = text_or_none(model, "continuing_subword_prefix", where);
  settings.end_suffix = text_or_none(model, "end_of_word_suffix", where);
  if (!json_absent(model, "unk_token")) settings.unk_token = json_string(model, "unk_token", where);
  if (file.vocabulary.empty()) throw InputError("the vocabulary is empty", where, "replace the file");
  Bpe bpe(std::exchange(file.vocabulary, {}), settings, where);
  for (const auto& [left, right] : std::exchange(file.merges, {})) bpe.add_merge(left, right);
  return bpe;
}

Unigram make_unigram(TokenizerFile& file, const Json& model, bool byte_level, const std::string& where) {
  UnigramSettings settings;
  settings.byte_level = byte_level;
  settings.byte_fallback = flag(model, "byte_fallback", where);
  if (!json_absent(model, "unk_id"))
    settings.unk_id = static_cast<std::int32_t>(json_integer(model, "unk_id", 0, INT32_MAX - 1, where));
  return {std::exchange(file.pieces, {}), settings, where};
}

}  // namespace

JsonModel make_json_model(TokenizerFile& file, bool byte_level, const std::string& where) {
  const Json model = json_absent(file.rest, "model") ? Json() : file.rest["model"];
  if (!model.is_object()) throw InputError("has no model", where, "give the model's tokenizer.json");
  const std::string type = type_of(file, model, where);
  if (type == "BPE") return make_bpe(file, model, byte_level, where);
  if (type == "Unigram") return make_unigram(file, model, byte_level, where);
  throw InputError("model '" + printable(type) + "' is not supported", where, elsewhere);
}

}  // namespace galapagos
