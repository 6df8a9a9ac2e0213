#include "eval_time.hpp"

#include <algorithm>
#include <fmt/format.h>

#include <galapagos/comm/agreement.hpp>
#include <galapagos/core/logging.hpp>
#include <galapagos/core/memory_gauge.hpp>
#include <galapagos/core/random.hpp>
#include <galapagos/core/text.hpp>
#include <galapagos/model/cached_model.hpp>
#include <galapagos/model/stage.hpp>
#include <galapagos/search/least_seconds.hpp>

namespace galapagos::app {
namespace {

/// Sequences at a time, and tokens of each that are read, or that come before the one that is written.
struct Point {
  std::int64_t batch = 1, length = 1;
};

/// What a model takes at a point.
struct Measured {
  double prefill = 0, decode = 0;  ///< tokens per second
  std::uint64_t memory = 0;        ///< bytes that a rank's tensors took at most
};

std::vector<Point> points_of(const EvalTimes& asked, const HfConfig& config) {
  std::vector<Point> points;
  const std::int64_t longest = config.longest_sequence();
  const std::vector<std::int64_t> lengths =
      asked.lengths.empty() ? std::vector<std::int64_t>{std::min<std::int64_t>(1024, longest - 1)}
                            : parse_integers(asked.lengths, "--time-lengths");
  for (const std::int64_t length : lengths) {
    if (length < 1 || length >= longest)
      throw UsageError(fmt::format("{} tokens, and one more to be written", length), "--time-lengths",
                       fmt::format("this model takes {} tokens in all", longest));
    for (const std::int64_t batch : parse_integers(asked.batch, "--time-batch")) {
      if (batch < 1 || batch > 1'000'000)
        throw UsageError(fmt::format("{} sequences", batch), "--time-batch", "give 1 or more");
      points.push_back({batch, length});
    }
  }
  return points;
}

std::vector<std::int32_t> random_tokens(std::int64_t ids, std::int64_t count) {
  RandomStream random(0, {0, 0, 0, 35});
  std::vector<std::int32_t> tokens;
  for (std::int64_t i = 0; i < count; ++i)
    tokens.push_back(static_cast<std::int32_t>(random.below(static_cast<std::uint32_t>(ids))));
  return tokens;
}

/// Reads and writes at one point, as `generate` does.
class TimedModel {
 public:
  TimedModel(const ops::Context& context, const HfConfig& config, const ModelWeights& weights,
             std::int64_t ids, const Point& point, std::int64_t batch_tokens, const Shards& shards)
      : point_(point),
        at_once_(std::max(point.batch, std::min(batch_tokens, point.batch * point.length))),
        tokens_(random_tokens(ids, point.batch * point.length)),
        model_(context, config, weights, extents(point, at_once_), shards) {}

  static CacheExtents extents(const Point& point, std::int64_t at_once) {
    return {point.batch, point.length + 1, at_once};
  }
  static std::uint64_t bytes(const ModelSource& source, const Point& point, std::int64_t batch_tokens,
                             const ops::Context& context) {
    const std::int64_t at_once = std::max(point.batch, std::min(batch_tokens, point.batch * point.length));
    return CachedModel::bytes(source, extents(point, at_once), context.device(), context.activations());
  }

  /// All sequences, as many at a time as batches of tokens allow, a longer one in pieces.
  void read() {
    const std::int64_t whole = std::max<std::int64_t>(at_once_ / point_.length, 1);
    for (std::int64_t first = 0; first < point_.batch; first += whole) {
      const std::int64_t some = std::min(whole, point_.batch - first);
      for (std::int64_t start = 0; start < point_.length; start += at_once_) {
        TextRows rows;
        const std::int64_t count = std::min(at_once_, point_.length - start);
        for (std::int64_t i = 0; i < some; ++i) rows.add(first + i, start, count, point_.length);
        choose(model_.step(std::span(tokens_).subspan(static_cast<std::size_t>(first * point_.length + start),
                                                      static_cast<std::size_t>(rows.rows())),
                           rows));
      }
    }
  }
  /// A token of each sequence, behind what was read.
  void write() {
    TextRows rows;
    for (std::int64_t i = 0; i < point_.batch; ++i) rows.add(i, point_.length, 1, point_.length + 1);
    choose(model_.step(std::span(tokens_).first(static_cast<std::size_t>(point_.batch)), rows));
  }

 private:
  void choose(const Tensor& logits) {
    std::vector<std::int32_t> ids(static_cast<std::size_t>(logits.rows()));
    model_.losses().arg_max(logits, ids);
  }

  Point point_;
  std::int64_t at_once_;
  std::vector<std::int32_t> tokens_;
  CachedModel model_;
};

class EvalTimer {
 public:
  EvalTimer(const Communicator& world, const ops::Context& context, const EvalRequest& request,
            const ReplicaGrid& grid)
      : world_(world), context_(context), request_(request), grid_(grid) {}

  std::vector<Measured> measure(const ModelSource& source, const std::vector<Point>& points) const {
    const std::int64_t ids = grid_.of_replica().sum(source.config.vocab_size);
    const Shards shards = make_shards(grid_, collectives_for(context_, request_), ids);
    const std::uint64_t limit = memory_per_rank(world_, request_.memory_limit, context_.device());
    agree(world_, [&] {
      for (const Point& point : points) check_memory(source, point, limit);
    });
    const ModelWeights weights = agree_on(world_, [&] { return load_model_weights(source); });
    std::vector<Measured> all;
    for (const Point& point : points) all.push_back(measure(source.config, weights, ids, point, shards));
    return all;
  }

 private:
  void check_memory(const ModelSource& source, const Point& point, std::uint64_t limit) const {
    const std::uint64_t need = TimedModel::bytes(source, point, request_.batch_tokens, context_);
    if (need <= limit) return;
    throw ResourceError(
        fmt::format("{} sequences of {} tokens need {} on a rank, which may use {}", point.batch,
                    point.length, human_bytes(need), human_bytes(limit)),
        "memory", "use more --shards, a smaller --time-batch or --time-lengths, or raise --memory-limit");
  }

  Measured measure(const HfConfig& config, const ModelWeights& weights, std::int64_t ids, const Point& point,
                   const Shards& shards) const {
    MemoryGauge& gauge = context_.device() == Device::cuda ? gpu_tensors() : host_tensors();
    gauge.restart();
    std::optional<TimedModel> model;
    agree(world_,
          [&] { model.emplace(context_, config, weights, ids, point, request_.batch_tokens, shards); });
    const CommonSeconds common = [&](double seconds) { return world_.broadcast_value(seconds); };
    const auto seconds = [&](const char* what, const auto& pass) {
      double found = 0;
      shards.run(
          [&] { found = least_seconds(context_.device(), request_.time.repeats, what, pass, common); });
      return found;
    };
    Measured measured;
    const auto batch = static_cast<double>(point.batch), length = static_cast<double>(point.length);
    measured.prefill = batch * length / seconds("reading", [&] { model->read(); });
    measured.decode = batch / seconds("writing", [&] { model->write(); });
    measured.memory = static_cast<std::uint64_t>(world_.max(static_cast<std::int64_t>(gauge.most())));
    return measured;
  }

  const Communicator& world_;
  const ops::Context& context_;
  const EvalRequest& request_;
  const ReplicaGrid& grid_;
};

Json as_json(const Measured& measured) {
  Json json;
  json["prefill_tokens_per_second"] = measured.prefill;
  json["decode_tokens_per_second"] = measured.decode;
  json["memory"] = measured.memory;
  return json;
}

Json as_json(const std::vector<Point>& points, const std::vector<Measured>& found,
             const std::vector<Measured>& reference) {
  Json all = Json::array();
  for (std::size_t i = 0; i < points.size(); ++i) {
    Json json;
    json["batch"] = points[i].batch;
    json["length"] = points[i].length;
    json.update(as_json(found[i]));
    if (!reference.empty()) {
      json["reference"] = as_json(reference[i]);
      json["prefill_speedup"] = found[i].prefill / reference[i].prefill;
      json["decode_speedup"] = found[i].decode / reference[i].decode;
    }
    all.push_back(std::move(json));
  }
  return all;
}

std::string as_text(const std::vector<Point>& points, const std::vector<Measured>& found,
                    const std::vector<Measured>& reference) {
  std::string text = fmt::format("{:>6} {:>7} {:>15} {:>15} {:>11}", "batch", "length", "prefill tok/s",
                                 "decode tok/s", "memory");
  if (!reference.empty())
    text += fmt::format(" {:>15} {:>15} {:>11} {:>8} {:>7}", "reference", "reference", "memory", "prefill",
                        "decode");
  text += "\n";
  for (std::size_t i = 0; i < points.size(); ++i) {
    const auto columns = [](const Measured& one) {
      return fmt::format(" {:>15.1f} {:>15.1f} {:>11}", one.prefill, one.decode, human_bytes(one.memory));
    };
    text += fmt::format("{:>6} {:>7}", points[i].batch, points[i].length) + columns(found[i]);
    if (!reference.empty())
      text +=
          columns(reference[i]) + fmt::format(" {:>7.2f}x {:>6.2f}x", found[i].prefill / reference[i].prefill,
                                              found[i].decode / reference[i].decode);
    text += "\n";
  }
  return text;
}

}  // namespace

void eval_time(const Communicator& world, const ops::Context& context, const EvalRequest& request,
               const NamedModel& model, const NamedModel* reference) {
  const ReplicaGrid grid(world, request.shards);
  std::vector<Point> points;
  agree(world, [&] {
    points = points_of(request.time, model.config);
    for (const Point& point : points) {
      if (reference != nullptr && point.length >= reference->config.longest_sequence())
        throw UsageError(
            fmt::format("{} tokens, and one more to be written", point.length), "--time-lengths",
            fmt::format("the reference takes {} tokens in all", reference->config.longest_sequence()));
    }
  });
  const EvalTimer timer(world, context, request, grid);
  const auto measured = [&](const NamedModel& one) {
    const ModelSource source =
        agree_on(world, [&] { return one.source(context, grid.shard(), request.shards); });
    return timer.measure(source, points);
  };
  const std::vector<Measured> found = measured(model);
  const std::vector<Measured> dense = reference == nullptr ? std::vector<Measured>() : measured(*reference);
  Json json;
  json["parameters"] = model.parameters();
  json["device"] = device_text(context);
  json["ranks"] = world.size();
  json["precision"] = galapagos::name_of(ops::working_type(context.device(), model.precision));
  json["times"] = as_json(points, found, dense);
  const std::string text =
      fmt::format("parameters  {}\ndevice      {}, {} ranks, {} weights\n\n",
                  human_count(static_cast<std::uint64_t>(model.parameters())), device_text(context),
                  world.size(), json["precision"].get<std::string>()) +
      as_text(points, found, dense);
  print(world, request.json ? json.dump(2) + "\n" : text);
}

}  // namespace galapagos::app
