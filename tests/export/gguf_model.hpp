#pragma once

#include "gguf_reader.hpp"

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include <galapagos/io/hf_config.hpp>

namespace galapagos::test {

using Numbers = std::vector<std::int64_t>;

/// All files of an export as one.
GgufFile read_gguf(const std::filesystem::path& folder);

/// One number for all layers, or one for each.
Numbers of_layers(const GgufFile& file, const std::string& key, std::int64_t layers);

/// The model that a file holds, as a checkpoint by Hugging Face's names in `folder`: what llama.cpp would
/// compute, as far as weights and shapes go. `config`: the parent's, with the shapes that the file has.
struct GgufModel {
  HfConfig config;
  std::filesystem::path folder;

  GgufModel(const GgufFile& file, HfConfig parent, const std::filesystem::path& output);

 private:
  struct Tensor {
    Numbers shape;
    std::vector<float> values;
  };

  void add(const std::string& name, const GgufFile::Stored& stored);
  void split_heads(const std::string& prefix, std::size_t layer, const GgufFile::Stored& stored);
  void add_experts(const GgufFile& file, std::size_t layer);
  void check_mixture(const GgufFile& file) const;

  std::string architecture_;
  std::map<std::string, Tensor> made_;
};

}  // namespace galapagos::test
