#include <galapagos/core/error.hpp>
#include <galapagos/io/model_files.hpp>

namespace galapagos {

OwnFiles model_files() {
  return {"config.json",
          "generation_config.json",
          "*.safetensors",
          "model.safetensors.index.json",
          "pruning.json",
          "assignment.txt",
          "tokenizer.json",
          "tokenizer.model",
          "vocab.json",
          "merges.txt",
          "added_tokens.json",
          "tokenizer_config.json",
          "chat_template.json",
          "chat_template.jinja",
          "additional_chat_templates/*.jinja",
          "special_tokens_map.json",
          "configuration_galapagos.py",
          "modeling_galapagos.py"};
}

void check_result(const std::filesystem::path& run) {
  const std::filesystem::path config = run / "model" / "config.json";
  if (!std::filesystem::exists(config))
    throw InputError("the run is complete, but its model is gone", config.string(),
                     "give --fresh to begin anew, or another --output");
}

OwnFiles model_files(const std::string& folder) {
  const OwnFiles own = model_files();
  OwnFiles all = below(folder, own);
  all.push_back(folder + ".part/*");
  return all;
}

}  // namespace galapagos
