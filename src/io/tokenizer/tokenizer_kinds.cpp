#include "tokenizer_kinds.hpp"

#include "foreign_tokenizers.hpp"

#include <galapagos/core/error.hpp>

namespace galapagos {

std::unique_ptr<Tokenizer> Tokenizer::load(const std::filesystem::path& folder_or_file) {
  std::filesystem::path file = folder_or_file;
  if (std::filesystem::is_directory(file)) {
    file = folder_or_file / "tokenizer.json";
    if (!std::filesystem::exists(file)) file = folder_or_file / "tokenizer.model";
    if (!std::filesystem::exists(file)) {
      refuse_foreign_folder(folder_or_file);
      throw InputError("holds neither tokenizer.json nor tokenizer.model", folder_or_file.string(),
                       "copy the model's tokenizer there, or give token files instead of text");
    }
  }
  refuse_foreign_name(file);
  if (file.extension() == ".json") return load_json_tokenizer(file);
  if (file.extension() == ".model") return load_sentencepiece_tokenizer(file);
  throw InputError("is not a tokenizer", folder_or_file.string(),
                   "give a folder with tokenizer.json or tokenizer.model, or one of those files");
}

}  // namespace galapagos
