#include "rope_reader.hpp"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>

#include <galapagos/core/error.hpp>

namespace galapagos {
namespace {

constexpr double largest = 1e30;

/// What Python takes for false.
bool falsy(const Json& value) {
  return value == false || value == 0 || value == "" || (!value.is_primitive() && value.empty()) ||
         value.is_null();
}

class RopeReader {
 public:
  RopeReader(const Json& json, const Family& family, const HfConfig& config, const std::string& where,
             std::vector<std::string>& warnings)
      : json_(json), family_(family), config_(config), where_(where), warnings_(warnings) {}

  RopeSettings read() {
    choose();
    RopeSettings rope;
    rope.kind = kind();
    rope.theta = either("rope_theta", family_.rope.theta);
    rope.rotated_share = rotated_share(rope.kind);
    switch (rope.kind) {
      case RopeKind::standard:
        break;
      case RopeKind::linear:
      case RopeKind::dynamic:
        rope.factor = stretch();
        break;
      case RopeKind::llama3:
        read_llama3(rope);
        break;
      case RopeKind::yarn:
        read_yarn(rope);
        break;
      case RopeKind::longrope:
        read_longrope(rope);
        break;
    }
    return rope;
  }

 private:
  [[noreturn]] void inconsistent(const std::string& what) const {
    throw InputError(what, where_, "copy or download the file again");
  }
  [[noreturn]] void refuse(const std::string& what) const {
    std::string list;
    for (const RopeKind kind : all_rope_kinds)
      list += (list.empty() ? "" : ", ") + std::string(name_of(kind));
    throw InputError(what, where_, "choose a model whose rope is one of " + list);
  }

  double positive(const Json& object, const std::string& key) const {
    const double value = json_number(object, key, where_);
    if (!(value > 0) || value > largest)
      inconsistent(fmt::format("key '{}' is {} but should be positive", key, value));
    return value;
  }
  /// Of the settings, or where they say nothing of the whole file.
  double either(const std::string& key, double otherwise) const {
    if (!json_absent(settings_, key)) return positive(settings_, key);
    return json_absent(json_, key) ? otherwise : positive(json_, key);
  }
  double optional(const std::string& key, double otherwise) const {
    return json_absent(settings_, key) ? otherwise : positive(settings_, key);
  }
  double stretch() const {
    const double factor = positive(settings_, "factor");
    if (factor < 1) inconsistent(fmt::format("rope scaling factor {} is below 1", factor));
    return factor;
  }

  /// transformers 4 writes rope_theta and rope_scaling, transformers 5 both in rope_parameters. Where there
  /// are both, transformers 5 takes rope_scaling (and rope_theta, which it lacks) and forgets the other.
  void choose() {
    const auto object_of = [&](const char* key) {
      if (!json_.contains(key) || falsy(json_[key])) return Json();
      if (!json_[key].is_object())
        inconsistent(fmt::format("the rope settings ({}) should be an object or null", key));
      for (const auto& [name, value] : json_[key].items()) {
        if (value.is_object())
          refuse("rope settings by layer type ('" + printable(name) + "') are not supported");
      }
      return json_[key];
    };
    const Json old = object_of("rope_scaling"), parameters = object_of("rope_parameters");
    settings_ = old.is_object() ? old : parameters;
    if (!settings_.is_object()) settings_ = Json::object();
    for (const char* key : {"rope_theta", "partial_rotary_factor"}) {
      if (!json_absent(settings_, key) && !json_absent(json_, key) && settings_[key] != json_[key])
        warn(fmt::format("{} is {} in the rope settings and {} beside them", key, short_text(settings_[key]),
                         short_text(json_[key])),
             "what they say");
    }
    if (!old.is_object() || !parameters.is_object()) return;
    for (const auto& [key, value] : parameters.items()) {
      const bool kind = key == "type" || key == "rope_type";
      const Json taken = old.contains(key)                ? old[key]
                         : key == "rope_theta"            ? json_.value(key, Json(10000.0))
                         : key == "partial_rotary_factor" ? json_.value(key, Json(1.0))
                                                          : Json();
      if (kind ? type_of(old) == type_of(parameters) : taken == value) continue;
      warn(fmt::format("rope_scaling and rope_parameters contradict each other ({})", printable(key)),
           "rope_scaling, with rope_theta beside it,");
      return;
    }
  }

  static std::string short_text(const Json& value) { return printable(value.dump(-1, ' ', true), 40); }
  void warn(const std::string& what, const char* taken) const {
    warnings_.push_back(fmt::format("{}: {}; {} is taken, as transformers 5 does", where_, what, taken));
  }

  std::string type_of(const Json& settings) const {
    for (const char* key : {"rope_type", "type"})
      if (!json_absent(settings, key)) return json_string(settings, key, where_);
    return "default";
  }

  RopeKind kind() const {
    const std::string type = type_of(settings_);
    if (family_.rope.only_longrope && (type == "su" || type == "yarn")) return RopeKind::longrope;
    const auto found = std::ranges::find(all_rope_kinds, type, [](RopeKind kind) { return name_of(kind); });
    const bool known = found != std::end(all_rope_kinds);
    const bool taken = known && (!family_.rope.only_longrope || *found == RopeKind::standard ||
                                 *found == RopeKind::longrope);
    if (!taken) {
      refuse(fmt::format("rope scaling of type '{}' is not supported{}", printable(type),
                         known ? fmt::format(" for {}", family_.model_type) : ""));
    }
    return *found;
  }

  double rotated_share(RopeKind kind) const {
    const double share = either("partial_rotary_factor", 1);
    if (share == 1) return 1;
    if (!family_.rope.partial) {
      // These families' code turns whole heads whatever the key says, or fails.
      if (kind != RopeKind::standard)
        refuse(fmt::format("partial_rotary_factor {} with rope scaling is not supported for {}", share,
                           family_.model_type));
      warnings_.push_back(fmt::format("{}: partial_rotary_factor {} means nothing for {}: whole heads turn",
                                      where_, share, family_.model_type));
      return 1;
    }
    RopeSettings rope;
    rope.rotated_share = share;
    if (share > 1 || rope.pairs(config_.head_dim) < 1)
      inconsistent(fmt::format("partial_rotary_factor {} of heads of {}", share, config_.head_dim));
    return share;
  }

  /// The key beside the settings comes first, as it does in transformers.
  std::int64_t original_positions() const {
    constexpr const char* key = "original_max_position_embeddings";
    if (!json_absent(json_, key)) {
      if (!json_absent(settings_, key) && settings_[key] != json_[key])
        warn(fmt::format("{} is {} in the rope settings and {} beside them", key, short_text(settings_[key]),
                         short_text(json_[key])),
             "what stands beside them");
      return json_integer(json_, key, 1, max_positions, where_);
    }
    if (family_.rope.original_positions) return *family_.rope.original_positions;
    if (!json_absent(settings_, key)) return json_integer(settings_, key, 1, max_positions, where_);
    return config_.max_position_embeddings;
  }

  void read_llama3(RopeSettings& rope) const {
    rope.factor = stretch();
    rope.low_freq_factor = positive(settings_, "low_freq_factor");
    rope.high_freq_factor = positive(settings_, "high_freq_factor");
    rope.original_positions = original_positions();
    if (rope.high_freq_factor <= rope.low_freq_factor)
      inconsistent("rope scaling with high_freq_factor not above low_freq_factor");
  }

  /// The stretching where the settings give none.
  double ratio(std::int64_t original) const {
    return static_cast<double>(config_.max_position_embeddings) / static_cast<double>(original);
  }

  void read_yarn(RopeSettings& rope) const {
    rope.original_positions = original_positions();
    const bool null = settings_.contains("factor") && settings_["factor"].is_null();
    rope.factor = null ? ratio(rope.original_positions) : stretch();
    const auto growth = [&](double scale) {
      return rope.factor <= 1 ? 1.0 : 0.1 * scale * std::log(rope.factor) + 1.0;
    };
    // Python: 0 is as good as nothing.
    const auto given = [&](const char* key) {
      if (json_absent(settings_, key)) return 0.0;
      const double value = json_number(settings_, key, where_);
      if (!(std::abs(value) <= largest)) inconsistent(fmt::format("key '{}' is {}", key, value));
      return value;
    };
    const double mscale = given("mscale"), of_all = given("mscale_all_dim");
    rope.attention_factor = optional(
        "attention_factor", mscale != 0 && of_all != 0 ? growth(mscale) / growth(of_all) : growth(1));
    if (!(std::abs(rope.attention_factor) <= largest)) inconsistent("rope scaling with mscale out of range");
    if (const double fast = given("beta_fast"); fast != 0) rope.beta_fast = fast;
    if (const double slow = given("beta_slow"); slow != 0) rope.beta_slow = slow;
    if (rope.beta_fast <= 0 || rope.beta_slow <= 0) inconsistent("rope scaling with a negative beta");
    if (rope.theta <= 1) inconsistent("yarn with rope_theta not above 1");
    if (!json_absent(settings_, "truncate")) rope.truncate = json_bool(settings_, "truncate", where_);
  }

  std::vector<double> factors(const char* key, std::int64_t pairs) const {
    if (json_absent(settings_, key) || !settings_[key].is_array())
      inconsistent(fmt::format("no list '{}'", key));
    std::vector<double> values;
    for (const Json& value : settings_[key]) values.push_back(positive(Json::object({{key, value}}), key));
    if (std::ssize(values) != pairs)
      inconsistent(fmt::format("{} has {} factors, but {} pairs turn", key, values.size(), pairs));
    return values;
  }

  void read_longrope(RopeSettings& rope) const {
    rope.original_positions = original_positions();
    const std::int64_t pairs = rope.pairs(config_.head_dim);
    rope.short_factors = factors("short_factor", pairs);
    rope.long_factors = factors("long_factor", pairs);
    rope.factor = optional("factor", ratio(rope.original_positions));
    const double grown =
        rope.factor <= 1 || rope.original_positions <= 1
            ? 1
            : std::sqrt(1 + std::log(rope.factor) / std::log(static_cast<double>(rope.original_positions)));
    rope.attention_factor = optional("attention_factor", grown);
  }

  const Json& json_;
  const Family& family_;
  const HfConfig& config_;
  const std::string& where_;
  std::vector<std::string>& warnings_;
  Json settings_;
};

}  // namespace

LayerRopes read_layer_ropes(const Json& json, const Family& family, const HfConfig& config,
                            const std::string& where, std::vector<std::string>& warnings) {
  const auto read = [&](const Json& from) { return read_rope(from, family, config, where, warnings); };
  if (!family.local_rope) return {read(json), std::nullopt};
  // As transformers 5: rope_parameters by kinds of layers, or the keys of transformers 4.
  const auto object_of = [&](const Json& holder, const char* key) {
    if (!holder.contains(key) || falsy(holder[key])) return Json(Json::object());
    if (!holder[key].is_object())
      throw InputError(fmt::format("key '{}' should be an object or null", key), where,
                       "copy or download the file again");
    return holder[key];
  };
  const Json by_kind = object_of(json, "rope_parameters");
  for (const auto& [key, value] : by_kind.items()) {
    if (key != "full_attention" && key != "sliding_attention")
      throw InputError(
          fmt::format("rope_parameters has '{}', but should be by kinds of layers", printable(key)), where,
          "copy or download the file again");
  }
  Json rest = json;
  for (const char* key : {"rope_parameters", "rope_scaling", "rope_theta"}) rest.erase(key);
  const auto of_kind = [&](const char* kind, const char* theta_key, double theta, const Json& scaling) {
    Json settings = object_of(by_kind, kind);
    settings.update(scaling);
    if (json_absent(settings, "rope_theta"))
      settings["rope_theta"] = json_absent(json, theta_key) ? Json(theta) : json[theta_key];
    Json all = rest;
    all["rope_parameters"] = std::move(settings);
    return read(all);
  };
  return {of_kind("full_attention", "rope_theta", family.rope.theta, object_of(json, "rope_scaling")),
          of_kind("sliding_attention", "rope_local_base_freq", 10000, Json::object())};
}

RopeSettings read_rope(const Json& json, const Family& family, const HfConfig& config,
                       const std::string& where, std::vector<std::string>& warnings) {
  return RopeReader(json, family, config, where, warnings).read();
}

}  // namespace galapagos
