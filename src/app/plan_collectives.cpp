#include "command.hpp"
#include "plan_commands.hpp"
#include "plan_parts.hpp"

#include <array>
#include <fmt/format.h>

#include <galapagos/comm/agreement.hpp>
#include <galapagos/core/text.hpp>
#include <galapagos/io/model_shape.hpp>

namespace galapagos::app {
namespace {

constexpr std::array shard_counts = {1, 2, 4, 8};

struct Pass {
  const char* name;
  ShardTraffic traffic;
};

std::vector<Pass> passes_of(const HfConfig& config) {
  const ShardTraffic forward = forward_traffic(config.hidden_size, config.layer_shapes);
  std::vector<Pass> passes = {{"evaluation", forward}, {"training", forward}, {"recomputing", forward}};
  passes[0].traffic += nll_traffic;
  passes[0].traffic += likeliest_traffic;
  for (const bool recompute : {false, true}) {
    ShardTraffic& traffic = passes[recompute ? 2 : 1].traffic;
    traffic += backward_traffic(config.hidden_size, config.layer_shapes, recompute, DType::f32,
                                config.features.post_norms);
    traffic += nll_traffic;
  }
  return passes;
}

std::string table(const HfConfig& config) {
  std::string text = fmt::format("{:<14}{:<12}", "shards", "");
  for (const int shards : shard_counts) text += fmt::format("{:>12}", shards);
  text += "\n";
  for (const Pass& pass : passes_of(config)) {
    const auto line = [&](const char* name, double ShardTraffic::*part) {
      text += fmt::format("{:<14}{:<12}", pass.name, name);
      for (const int shards : shard_counts) {
        const ShardTraffic moved = pass.traffic.moved(shards);
        text += fmt::format("{:>12}", bytes_text(part != nullptr ? moved.*part : moved.total()));
      }
      text += "\n";
    };
    line("layers", &ShardTraffic::layers);
    line("embedding", &ShardTraffic::embedding);
    if (pass.traffic.head > 0) line("head", &ShardTraffic::head);
    line("losses", &ShardTraffic::losses);
    line("all", nullptr);
  }
  return text +
         "recomputing: training with --recompute. Sums in a ring, fp32; losses are gathered.\n"
         "On a GPU with weights of 16 bits, the layers' sums on the way forward are bf16: half of that.\n";
}

Json as_json(const HfConfig& config) {
  Json json;
  json["kind"] = "collectives";
  for (const Pass& pass : passes_of(config)) {
    for (const int shards : shard_counts)
      json[pass.name][fmt::format("{}", shards)] = traffic_json(pass.traffic.moved(shards));
  }
  return json;
}

}  // namespace

void plan_collectives(const Communicator& world, const std::vector<std::string>& words) {
  std::filesystem::path model;
  bool json = false;
  std::string log_level = "info";
  Options options;
  options.describe("plan collectives",
                   "bytes that a rank sends to the other shards of its replica, and receives, for one token: "
                   "of an evaluation without a reference, and of training, forward and back");
  options.add("model", model, "folder of a Hugging Face model, or its config.json", {.required = true});
  options.add("json", json, "print JSON");
  bind_log_level(options, log_level);
  if (!begin(world, options, words)) return;
  agree_at_root(world, [&] {
    options.require_all();
    options.take();
    const HfConfig config = read_shape(model);
    print(world, json ? as_json(config).dump(2) + "\n" : table(config));
  });
}

}  // namespace galapagos::app
