#include <array>
#include <utility>

#include <galapagos/io/mixture_names.hpp>

namespace galapagos {
namespace {

constexpr std::string_view mixtral_block = ".block_sparse_moe.", usual_block = ".mlp.",
                           expert_block = "experts.";
constexpr std::array<std::pair<std::string_view, std::string_view>, 3> projections = {
    {{".w1.", ".gate_proj."}, {".w3.", ".up_proj."}, {".w2.", ".down_proj."}}};

void replace_one(std::string& text, std::string_view what, std::string_view by) {
  if (const std::size_t at = text.find(what); at != std::string::npos) text.replace(at, what.size(), by);
}

}  // namespace

std::string usual_expert_name(std::string_view stored) {
  std::string name(stored);
  if (name.find(mixtral_block) == std::string::npos) return name;
  replace_one(name, mixtral_block, usual_block);
  for (const auto& [mixtral, usual] : projections) replace_one(name, mixtral, usual);
  return name;
}

std::string mixtral_name(std::string_view usual) {
  std::string name(usual);
  if (name.find(usual_block) == std::string::npos) return name;
  const bool expert = name.find(expert_block) != std::string::npos;
  replace_one(name, usual_block, mixtral_block);
  if (expert)
    for (const auto& [mixtral, own] : projections) replace_one(name, own, mixtral);
  return name;
}

}  // namespace galapagos
