#include "attention_kinds.hpp"

#include <algorithm>
#include <array>
#include <fmt/format.h>

#include <galapagos/core/error.hpp>

namespace galapagos {
namespace {

constexpr const char* windows_key = "layer_windows";
constexpr const char* ropes_key = "layer_ropes";
constexpr std::array<std::string_view, 3> rope_names = {"usual", "local", "none"};  // of LayerRope

class KindReader {
 public:
  KindReader(const Json& json, const Family& family, std::int64_t layers, const std::string& where)
      : json_(json), family_(family), layers_(layers), where_(where) {}

  std::vector<AttentionKind> read() const {
    std::vector<AttentionKind> kinds(static_cast<std::size_t>(layers_));
    if (json_.contains(windows_key) || json_.contains(ropes_key)) {
      read_own(kinds);
    } else {
      const std::vector<bool> with_rope = ropes();
      const std::vector<bool> sliding = sliding_layers(with_rope);
      const std::int64_t size = window();
      for (std::size_t i = 0; i < kinds.size(); ++i) {
        if (sliding[i] && size == 0) inconsistent("a layer of sliding attention, but no sliding_window");
        if (sliding[i]) kinds[i].window = size;
        if (sliding[i] && family_.local_rope) kinds[i].rope = LayerRope::local;
        if (!with_rope[i]) kinds[i].rope = LayerRope::none;
      }
    }
    const bool usual =
        std::ranges::all_of(kinds, [](const AttentionKind& kind) { return kind == AttentionKind(); });
    return usual ? std::vector<AttentionKind>() : kinds;
  }

 private:
  [[noreturn]] void inconsistent(const std::string& what) const {
    throw InputError(what, where_, "copy or download the file again");
  }
  [[noreturn]] void refuse(const std::string& what) const {
    throw InputError(what, where_, "choose a model whose layers have full or sliding attention");
  }
  bool absent(const char* key) const { return json_absent(json_, key); }
  bool flag(const char* key) const { return !absent(key) && json_bool(json_, key, where_); }

  /// A list of one value per layer, or of more where `longer`.
  const Json& list(const char* key, bool longer = false) const {
    const Json& values = json_[key];
    const auto wanted = static_cast<std::size_t>(layers_);
    if (!values.is_array() || values.size() < wanted || (values.size() > wanted && !longer))
      inconsistent(fmt::format("key '{}' should be a list of {} values", key, layers_));
    return values;
  }

  void read_own(std::vector<AttentionKind>& kinds) const {
    for (std::size_t i = 0; i < kinds.size(); ++i) {
      if (!absent(windows_key))
        kinds[i].window = json_integer(Json::object({{windows_key, list(windows_key)[i]}}), windows_key, 0,
                                       max_positions, where_);
      if (absent(ropes_key)) continue;
      const auto found = std::ranges::find_if(
          rope_names, [&](std::string_view name) { return list(ropes_key)[i] == std::string(name); });
      if (found == rope_names.end()) inconsistent(fmt::format("key '{}' names an unknown rope", ropes_key));
      kinds[i].rope = static_cast<LayerRope>(found - rope_names.begin());
    }
  }

  /// Which layers turn their heads.
  std::vector<bool> ropes() const {
    std::vector<bool> with_rope(static_cast<std::size_t>(layers_), true);
    if (!family_.layers_without_rope) return with_rope;
    const std::int64_t interval =
        absent("no_rope_layer_interval")
            ? 4
            : json_integer(json_, "no_rope_layer_interval", 1, max_positions, where_);
    for (std::size_t i = 0; i < with_rope.size(); ++i) {
      with_rope[i] = absent("no_rope_layers")
                         ? (static_cast<std::int64_t>(i) + 1) % interval != 0
                         : list("no_rope_layers", true)[i] != 0 && list("no_rope_layers", true)[i] != false;
    }
    return with_rope;
  }

  /// The size of the windows, 0 where there is none.
  std::int64_t window() const {
    constexpr const char* key = "sliding_window";
    const bool on_demand = family_.windows == WindowRule::on_demand ||
                           family_.windows == WindowRule::without_rope ||
                           family_.windows == WindowRule::if_used;
    if (family_.windows == WindowRule::never || (on_demand && !flag("use_sliding_window"))) return 0;
    if (!json_.contains(key)) return family_.window.value_or(0);
    return absent(key) ? 0 : json_integer(json_, key, 1, max_positions, where_);
  }

  std::vector<bool> sliding_layers(const std::vector<bool>& with_rope) const {
    const std::int64_t size = window();
    std::vector<bool> sliding(static_cast<std::size_t>(layers_), false);
    if (!absent("layer_types") && (family_.typed || family_.windows == WindowRule::never)) {
      for (std::size_t i = 0; i < sliding.size(); ++i) {
        const Json& type = list("layer_types")[i];
        sliding[i] = family_.typed && type == "sliding_attention";
        if (!sliding[i] && type != "full_attention")
          refuse("layer_types with " + printable(type.dump(-1, ' ', true), 60) + " is not supported");
      }
      return sliding;
    }
    const std::int64_t first_sliding =
        absent("max_window_layers") ? 28 : json_integer(json_, "max_window_layers", 0, max_positions, where_);
    const std::int64_t pattern = !absent("sliding_window_pattern")
                                     ? json_integer(json_, "sliding_window_pattern", 1, max_positions, where_)
                                     : family_.window_pattern;
    for (std::size_t i = 0; i < sliding.size(); ++i) {
      const auto layer = static_cast<std::int64_t>(i);
      switch (family_.windows) {
        case WindowRule::never:
          break;
        case WindowRule::everywhere:
        case WindowRule::if_used:
          sliding[i] = size > 0;
          break;
        case WindowRule::on_demand:
          sliding[i] = size > 0 && layer >= first_sliding;
          break;
        case WindowRule::without_rope:
          sliding[i] = size > 0 && !with_rope[i];
          break;
        case WindowRule::pattern:
          sliding[i] = (layer + 1) % pattern != 0;
          break;
      }
    }
    return sliding;
  }

  const Json& json_;
  const Family& family_;
  std::int64_t layers_;
  const std::string& where_;
};

}  // namespace

std::vector<AttentionKind> read_attention_kinds(const Json& json, const Family& family, std::int64_t layers,
                                                const std::string& where) {
  return KindReader(json, family, layers, where).read();
}

void describe_attention(const HfConfig& config, Json& json) {
  const auto describe = [&](const char* key, double value) {
    if (!json.contains(key) && value != 0) json[key] = value;
  };
  if (config.attention_scale != 0)
    describe("query_pre_attn_scalar", 1 / (config.attention_scale * config.attention_scale));
  describe("attn_logit_softcapping", config.attention_cap);
  describe("final_logit_softcapping", config.logit_cap);
  if (config.attention_kinds.empty()) return;
  Json windows = Json::array(), ropes = Json::array();
  for (const AttentionKind& kind : config.attention_kinds) {
    windows.push_back(kind.window);
    ropes.push_back(rope_names[static_cast<std::size_t>(kind.rope)]);
  }
  json[windows_key] = std::move(windows);
  json[ropes_key] = std::move(ropes);
}

}  // namespace galapagos
