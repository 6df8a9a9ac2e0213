#include "assignment/small_space.hpp"
#include "support/catch.hpp"
#include "support/files.hpp"

#include <cmath>
#include <functional>
#include <numeric>
#include <random>
#include <set>

#include <galapagos/search/latency_goal.hpp>
#include <galapagos/search/least_loss.hpp>
#include <galapagos/search/size_target.hpp>
#include <galapagos/search/whole_time.hpp>

using namespace galapagos;
using test::contains;
using test::message_of;

namespace {

// Layers of 2 heads on 1 KV head and 8 columns, each level a head or 2 columns less.
SearchSpace space_of(std::size_t layers) {
  std::mt19937 random(3);
  SearchSpace space;
  space.fixed_parameters = 100;
  space.hidden_size = 16;
  space.head_dim = 4;
  space.vocab_size = 50;
  const auto columns = [](std::int64_t count) {
    std::vector<std::int64_t> first(static_cast<std::size_t>(count));
    std::iota(first.begin(), first.end(), 0);
    return first;
  };
  for (std::size_t layer = 0; layer < layers; ++layer) {
    ModuleChoices attention, ffn;
    attention.id = {static_cast<std::int64_t>(layer), ModuleKind::attention};
    for (const std::int64_t heads : {2, 1, 0}) {
      attention.kept.push_back(columns(4 * heads));
      attention.kv_heads.push_back(heads == 0 ? 0 : 1);
      attention.parameters.push_back(100 * heads);
    }
    ffn.id = {static_cast<std::int64_t>(layer), ModuleKind::ffn};
    for (const std::int64_t width : {8, 6, 4, 2, 0}) {
      ffn.kept.push_back(columns(width));
      ffn.kv_heads.push_back(0);
      ffn.parameters.push_back(48 * width);
    }
    space.modules.push_back(attention);
    space.modules.push_back(ffn);
  }
  return test::with_end_losses(std::move(space), random);
}

const LatencyConditions conditions = {16, 4, "bf16", "a machine, of ours", 1, 32};

// A head takes 1 ms, a column 0.5, what is fixed 2: 8 ms of a layer.
LatencyTable table_of(const SearchSpace& space) {
  LatencyTable table;
  std::set<PartShape> shapes = {fixed_shape(space)};
  for (std::size_t i = 0; i < space.modules.size(); ++i)
    for (std::size_t level = 0; level < space.modules[i].parameters.size(); ++level)
      shapes.insert(part_shape(space, i, level));
  for (const LatencyPhase phase : {LatencyPhase::prefill, LatencyPhase::decode})
    for (const PartShape& shape : shapes) {
      const double time = shape.kind == PartKind::fixed ? 2e-3
                                                        : 1e-3 * static_cast<double>(shape.heads) +
                                                              5e-4 * static_cast<double>(shape.columns);
      table.rows.push_back({shape, phase, phase == LatencyPhase::decode ? time / 8 : time, conditions});
    }
  return table;
}

WholeRow whole(const SearchSpace& space, const Assignment& assignment, double parts, double seconds) {
  return {whole_shape(space, assignment), LatencyPhase::prefill, seconds, parts, conditions};
}

SizeTarget latency_of(std::int64_t nanoseconds) {
  SizeTarget target;
  target.latency_table = "t.csv";
  target.latency = nanoseconds;
  return target;
}

SizeTarget speedup_of(double speedup) {
  SizeTarget target;
  target.latency_table = "t.csv";
  target.speedup = speedup;
  return target;
}

constexpr std::int64_t ms = 1'000'000;

}  // namespace

TEST_CASE("a line goes through what was timed, toward the unpruned model", "[latency]") {
  // 1.2 times the parts and 3 ms.
  const WholeLatency dense{100 * ms, 123 * ms};
  const LatencyLine line = line_through({50 * ms, 63 * ms}, dense);
  CHECK(line.slope == Approx(1.2));
  CHECK(line.offset == Approx(3e6));
  CHECK(line.at(40 * ms) == 51 * ms);
  // By itself, and too near to the unpruned model, it says how many times its parts it takes.
  for (const LatencyLine& alone : {line_through({50 * ms, 63 * ms}, std::nullopt),
                                   line_through({50 * ms, 63 * ms}, WholeLatency{51 * ms, 80 * ms})}) {
    CHECK(alone.slope == Approx(1.26));
    CHECK(alone.offset == Approx(0).margin(1e-3));
  }
  // Noise does not turn it over.
  CHECK(line_through({50 * ms, 63 * ms}, WholeLatency{100 * ms, 60 * ms}).slope == Approx(0.63));
  CHECK(line_through({50 * ms, 63 * ms}, WholeLatency{60 * ms, 163 * ms}).slope == Approx(1.89));
  for (const std::int64_t more : {60, 163}) {
    const LatencyLine tilted = line_through({50 * ms, 63 * ms}, WholeLatency{100 * ms, more * ms});
    CHECK(tilted.at(50 * ms) == 63 * ms);
  }
}

TEST_CASE("whole models in a table correct what its parts sum up to", "[latency]") {
  const SearchSpace space = space_of(3);
  const Assignment dense(6, 0), half = {1, 2, 1, 2, 1, 2}, third = {1, 3, 2, 2, 1, 3};
  LatencyTable table = table_of(space);
  const auto goal = [&](const SizeTarget& target) { return latency_goal(space, target.of_latency(), table); };
  CHECK(goal(latency_of(10 * ms)).costs.sum(dense) == 20 * ms);
  CHECK(goal(latency_of(10 * ms)).costs.sum(half) == 11 * ms);
  CHECK(goal(latency_of(10 * ms)).costs.sum(third) == 8 * ms);
  // Without them, the sum counts.
  CHECK(goal(latency_of(10 * ms)).expected(half) == 11 * ms);
  CHECK(goal(speedup_of(2)).most == 10 * ms);
  // The unpruned model alone: all by its ratio.
  table.wholes = {whole(space, dense, 0.020, 0.024)};
  CHECK(goal(speedup_of(2)).most == 12 * ms);
  CHECK(goal(speedup_of(2)).expected(half) == std::llround(1.2 * 11 * ms));
  CHECK(goal(latency_of(10 * ms)).unpruned->whole == 24 * ms);
  // The nearest to what is asked for.
  table.wholes.push_back(whole(space, half, 0.011, 0.015));
  table.wholes.push_back(whole(space, third, 0.008, 0.009));
  CHECK(goal(latency_of(15 * ms)).line.slope == Approx(1.0));  // (24 - 15) / (20 - 11)
  CHECK(goal(latency_of(15 * ms)).expected(half) == 15 * ms);
  CHECK(goal(latency_of(9 * ms)).line.slope == Approx(15.0 / 12));
  CHECK(goal(latency_of(9 * ms)).expected(third) == 9 * ms);
  CHECK(goal(latency_of(9 * ms)).expected(dense) == 24 * ms);
  // But for what was just timed.
  const LatencyGoal timed =
      latency_goal(space, latency_of(9 * ms).of_latency(), table, WholeLatency{11 * ms, 14 * ms});
  CHECK(timed.line.slope == Approx(10.0 / 9));
  CHECK(timed.expected(half) == 14 * ms);
  // Of another phase nothing is known.
  SizeTarget decode = latency_of(ms);
  decode.latency_phase = LatencyPhase::decode;
  CHECK(goal(decode).line.slope == 1);
  CHECK(!goal(decode).unpruned);

  CHECK(
      contains(message_of<UsageError>([&] { goal(speedup_of(30)); }), "a speedup of 30, but by this table"));
  table.wholes.front().parts = 0.022;
  CHECK(contains(message_of<InputError>([&] { goal(speedup_of(2)); }),
                 "the parts of the unpruned model take 22 ms beside its own time, but sum up to 20 ms"));
}

TEST_CASE("a budget of a corrected table holds what is expected of whole models", "[latency]") {
  const test::TemporaryFolder folder;
  const SearchSpace space = space_of(4);
  LatencyTable table = table_of(space);
  const Assignment dense(8, 0), some = {1, 2, 1, 2, 1, 2, 1, 2};
  table.wholes = {whole(space, dense, 0.026, 0.040), whole(space, some, 0.014, 0.022)};
  const std::filesystem::path path = folder / "t.csv";
  test::write_text(path, table.text());
  for (const std::int64_t wanted : {15, 18, 22, 30, 38}) {
    SizeTarget target = latency_of(wanted * ms);
    target.latency_table = path;
    const LatencyGoal goal = latency_goal(space, target.of_latency(), table);
    const Budget budget = make_budget(space, target);
    std::mt19937 random(static_cast<unsigned>(wanted));
    for (int i = 0; i < 300; ++i) {
      Assignment one;
      for (const ModuleChoices& module : space.modules)
        one.push_back(static_cast<std::int16_t>(random() % (static_cast<unsigned>(module.last()) + 1)));
      const std::int64_t left = goal.most - goal.expected(one);
      if (std::abs(left) > 10) CHECK(budget.met_by(one) == (left >= 0));
    }
    CHECK(goal.expected(least_loss(space, budget)) <= wanted * ms + 10);
    CHECK(resolved(space, target) == resolved(space, resolved(space, target)));
  }
  // What the unpruned model takes in truth is what a speedup is of, and what meets a target.
  SizeTarget target = latency_of(30 * ms);
  target.latency_table = path;
  CHECK(!make_budget(space, target).met_by(dense));  // 26 ms by its parts
  target.latency = std::nullopt;
  target.speedup = 2;
  CHECK(resolved(space, target).latency == 20 * ms);
}

TEST_CASE("whole models are kept in the table to the nanosecond", "[latency]") {
  const test::TemporaryFolder folder;
  const SearchSpace space = space_of(3);
  LatencyTable table = table_of(space);
  const std::string before = table.text();
  const std::string fingerprint = table.fingerprint(LatencyPhase::prefill),
                    of_decode = table.fingerprint(LatencyPhase::decode);
  table.wholes = {whole(space, Assignment(6, 0), 12.123456789, 13.987654321),
                  whole(space, {1, 2, 1, 2, 1, 2}, 0.011000001, 0.015000002)};
  const std::filesystem::path path = folder / "t.csv";
  test::write_text(path, table.text());
  CHECK(is_latency_table(path));
  const LatencyTable read = read_latency_table(path);
  REQUIRE(read.wholes.size() == 2);
  CHECK(read.text() == table.text());
  CHECK(whole_latency(read.wholes[0]).parts == 12'123'456'789);
  CHECK(whole_latency(read.wholes[0]).whole == 13'987'654'321);
  CHECK(read.wholes[1].shape == WholeShape{3, 3, 12});
  CHECK(read.wholes[1].conditions == conditions);
  // They count, in their phase; without them a table is what it was.
  CHECK(read.fingerprint(LatencyPhase::prefill) != fingerprint);
  CHECK(read.fingerprint(LatencyPhase::decode) == of_decode);
  table.wholes.clear();
  CHECK(table.text() == before);
  CHECK(before.substr(0, before.find('\n')).ends_with(",length"));
}

TEST_CASE("a whole model that cannot be is refused with its line", "[latency]") {
  const test::TemporaryFolder folder;
  const std::filesystem::path path = folder / "t.csv";
  const std::string header =
      "kind,heads,kv_heads,columns,phase,seconds,hidden_size,head_dim,precision,device,batch,length,parts\n";
  const std::string row = "attn,2,1,0,prefill,0.001,16,4,bf16,cpu,1,32,\n",
                    good = "whole,6,3,24,prefill,0.024,16,4,bf16,cpu,1,32,0.02\n";
  const auto refused = [&](const std::string& text) {
    test::write_text(path, text);
    return message_of<InputError>([&] { read_latency_table(path); });
  };
  CHECK(refused(header + row + good).empty());
  CHECK(refused(header + good + row).empty());
  CHECK(contains(refused(header + row + good + good),
                 "line 4: whole of 6 heads on 3 KV heads, 24 columns (prefill) is there twice"));
  const std::vector<std::pair<std::string, std::string>> wrong = {
      {"whole,6,3,24,prefill,0.024,16,4,bf16,cpu,1,32", "12 fields, not 13"},
      {"whole,6,3,24,prefill,0.024,16,4,bf16,cpu,1,32,", "a whole model without parts"},
      {"whole,6,3,24,prefill,0.024,16,4,bf16,cpu,1,32,few", "'few' is no time in seconds"},
      {"whole,6,3,24,prefill,0.024,16,4,bf16,cpu,1,32,0",
       "0.024 seconds of a whole model whose parts take 0"},
      {"whole,6,3,24,prefill,0,16,4,bf16,cpu,1,32,0.02", "0 seconds of a whole model"},
      {"whole,6,3,24,prefill,24,16,4,bf16,cpu,1,32,0.02",
       "24 seconds of a whole model whose parts take 0.02"},
      {"whole,6,3,24,prefill,inf,16,4,bf16,cpu,1,32,0.02", "'inf' is no time in seconds"},
      {"whole,3,6,24,prefill,0.024,16,4,bf16,cpu,1,32,0.02", "3 heads on 6 KV heads"},
      {"whole,3,0,24,prefill,0.024,16,4,bf16,cpu,1,32,0.02", "3 heads on 0 KV heads"},
      {"whole,6,3,24,warm,0.024,16,4,bf16,cpu,1,32,0.02", "the phase 'warm' is not prefill or decode"},
      {"whole,6,3,24,prefill,0.024,16,4,fp32,cpu,1,32,0.02", "another model, precision, device"},
      {"ffn,0,0,8,prefill,0.024,16,4,bf16,cpu,1,32,0.02", "only a whole model has parts"}};
  for (const auto& [line, message] : wrong) {
    INFO(line);
    CHECK(contains(refused(header + row + line + "\n"), "line 3: " + message));
  }
  const std::string old = header.substr(0, header.size() - 7) + "\n";
  CHECK(contains(refused(old + "whole,6,3,24,prefill,0.024,16,4,bf16,cpu,1,32\n"),
                 "line 2: a whole model without"));
  CHECK(contains(refused("parts," + header + row), "line 1: the column 'parts' is there twice"));
  // Whole models alone are no table.
  CHECK(contains(refused(header + good), "no times"));
}

TEST_CASE("whole models of all families are timed, and what that holds is counted", "[latency]") {
  const ops::Context context(Device::cpu, 1);
  for (const char* name : {"llama3_tiny", "qwen3_pruned", "gemma2_tiny", "phi3_tiny", "biased_pruned"}) {
    INFO(name);
    HfConfig config = read_hf_config(test::data_file("models/" + std::string(name)));
    const Timing timing{2, 12, 1, DType::bf16};
    for (const LatencyPhase phase : {LatencyPhase::prefill, LatencyPhase::decode}) {
      const double seconds = whole_seconds(context, config, timing, phase);
      CHECK((seconds > 0 && seconds < 60));
      CHECK(whole_time_bytes(config, 1000, timing, phase, DType::f32) > 2000);
    }
    // Nothing but embedding and head.
    for (LayerShape& shape : config.layer_shapes) shape = {};
    CHECK(whole_seconds(context, config, timing, LatencyPhase::decode) > 0);
  }
}
