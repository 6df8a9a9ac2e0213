#include <galapagos/export/export_options.hpp>

namespace galapagos {

void bind(Options& list, ExportOptions& options) {
  list.add_bytes("shard-size", options.shard_bytes, "most bytes of one file");
  using Type = std::optional<GgufType>;
  Choices<Type> types = {{"auto", Type()}};
  for (const GgufType type : {GgufType::f32, GgufType::f16, GgufType::bf16, GgufType::q8_0})
    types.emplace_back(std::string(name_of(type)), type);
  list.add_choice("gguf-type", options.gguf_type, "type of elements", types,
                  "of gguf files: how matrices are stored; auto: as in the checkpoint");
  list.add("gguf-pre", options.gguf_pre,
           "of gguf files: llama.cpp's name for how the tokenizer cuts texts, where it is not found, or none "
           "for a file "
           "without a tokenizer");
}

}  // namespace galapagos
