#include <algorithm>
#include <array>
#include <cctype>
#include <string_view>

#include <galapagos/io/hub_names.hpp>

namespace galapagos {
namespace {

struct Dataset {
  std::string_view name, repository;
};

/// The names that DarwinLM's scripts know.
constexpr std::array datasets = std::to_array<Dataset>({
    {"fineweb_edu", "HuggingFaceFW/fineweb-edu"},
    {"fineweb-edu", "HuggingFaceFW/fineweb-edu"},
    {"wikitext2", "Salesforce/wikitext"},
    {"wikitext", "Salesforce/wikitext"},
    {"c4", "allenai/c4"},
});

/// Whether it may be "organisation/name".
bool is_repository(const std::string& name) {
  const std::size_t slash = name.find('/');
  if (slash == 0 || slash == std::string::npos || slash + 1 == name.size()) return false;
  if (name.find('/', slash + 1) != std::string::npos) return false;
  return name.front() != '.' && name.front() != '~' &&
         std::all_of(name.begin(), name.end(), [](unsigned char c) {
           return std::isalnum(c) || c == '/' || c == '-' || c == '_' || c == '.';
         });
}

}  // namespace

std::string remedy_for_missing_model(const std::string& name) {
  if (!is_repository(name)) return "give the folder of a Hugging Face model";
  const std::string folder = name.substr(name.find('/') + 1);
  return "give a folder; if this is a model of the hub, first 'pip install huggingface_hub' and 'hf "
         "download " +
         name + " --local-dir " + folder + "', then give " + folder;
}

std::string remedy_for_missing_weights(const std::filesystem::path& folder) {
  bool pickled = false, gguf = false;
  std::error_code error;
  for (std::filesystem::directory_iterator file(folder, error), end; !error && file != end;
       file.increment(error)) {
    const std::string name = file->path().filename();
    pickled =
        pickled || (name.starts_with("pytorch_model") && name.ends_with(".bin")) || name.ends_with(".pth");
    gguf = gguf || name.ends_with(".gguf");
  }
  if (pickled)
    return "PyTorch's pickles are not read: make safetensors of them with transformers, "
           "AutoModelForCausalLM.from_pretrained(DIR).save_pretrained(NEW), or download those that the model "
           "has";
  if (gguf) return "GGUF is not read: give the folder of the model that it was made from";
  return "give the folder of a Hugging Face model with its weights as safetensors";
}

std::string remedy_for_missing_text(const std::string& name) {
  const auto known =
      std::find_if(datasets.begin(), datasets.end(), [&](const Dataset& set) { return set.name == name; });
  const bool one = known != datasets.end();
  if (!one && !is_repository(name)) return "check the path";
  const std::string repository = one ? std::string(known->repository) : name;
  return std::string(one ? "give files" : "check the path") + "; the files of the hub's dataset " +
         repository + " come with 'hf download " + repository +
         " --repo-type dataset --include ... --local-dir DIR'";
}

}  // namespace galapagos
