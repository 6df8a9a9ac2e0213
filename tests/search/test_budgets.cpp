#include "assignment/small_space.hpp"
#include "support/catch.hpp"
#include "support/files.hpp"

#include <functional>
#include <limits>
#include <numeric>
#include <set>

#include <galapagos/core/hash.hpp>
#include <galapagos/core/progress.hpp>
#include <galapagos/search/least_loss.hpp>
#include <galapagos/search/mutation.hpp>
#include <galapagos/search/size_target.hpp>

using namespace galapagos;
using test::contains;
using test::message_of;

namespace {

constexpr std::int64_t head_dim = 4, hidden = 16, ids = 50;

// Layers of 4 heads on 2 KV heads and 24 columns. Which KV heads stay is random.
SearchSpace space_of(std::size_t layers, std::mt19937& random) {
  SearchSpace space;
  space.fixed_parameters = 1000;
  space.hidden_size = hidden;
  space.head_dim = head_dim;
  space.vocab_size = ids;
  space.stored = DType::bf16;
  const auto columns = [](std::int64_t count) {
    std::vector<std::int64_t> first(static_cast<std::size_t>(count));
    std::iota(first.begin(), first.end(), 0);
    return first;
  };
  for (std::size_t layer = 0; layer < layers; ++layer) {
    ModuleChoices attention, ffn;
    attention.id = {static_cast<std::int64_t>(layer), ModuleKind::attention};
    std::int64_t kv_heads = 2;
    for (const std::int64_t heads : {4, 3, 2, 1, 0}) {
      kv_heads = heads == 0   ? 0
                 : heads == 2 ? kv_heads - static_cast<std::int64_t>(random() % 2)
                 : heads == 1 ? 1
                              : kv_heads;
      attention.kept.push_back(columns(heads * head_dim));
      attention.kv_heads.push_back(kv_heads);
      attention.parameters.push_back(2 * hidden * head_dim * (heads + kv_heads));
    }
    ffn.id = {static_cast<std::int64_t>(layer), ModuleKind::ffn};
    for (const std::int64_t width : {24, 18, 12, 6, 0}) {
      ffn.kept.push_back(columns(width));
      ffn.kv_heads.push_back(0);
      ffn.parameters.push_back(3 * hidden * width);
    }
    space.modules.push_back(attention);
    space.modules.push_back(ffn);
  }
  return test::with_end_losses(std::move(space), random);
}

// Every shape's time, which in places is longer than a larger shape's.
LatencyTable table_of(const SearchSpace& space, std::mt19937& random, bool rising = true) {
  LatencyTable table;
  std::set<PartShape> shapes = {fixed_shape(space)};
  for (std::size_t i = 0; i < space.modules.size(); ++i)
    for (std::size_t level = 0; level < space.modules[i].parameters.size(); ++level)
      shapes.insert(part_shape(space, i, level));
  for (const PartShape& shape : shapes) {
    const std::int64_t size = 6 * (shape.heads + shape.kv_heads) + shape.columns;
    const double noise = rising ? static_cast<double>(random() % 16) : 0;
    for (const LatencyPhase phase : {LatencyPhase::prefill, LatencyPhase::decode}) {
      const double time = shape.present() ? 1e-6 * (10 + static_cast<double>(size) + noise) : 0;
      table.rows.push_back({shape,
                            phase,
                            phase == LatencyPhase::decode ? time / 8 : time,
                            {hidden, head_dim, "bf16", "a machine, of ours", 1, 32}});
    }
  }
  return table;
}

void for_all(const SearchSpace& space, const std::function<void(const Assignment&)>& see) {
  Assignment assignment(space.modules.size(), 0);
  for (;;) {
    see(assignment);
    std::size_t place = assignment.size();
    while (place > 0 && ++assignment[place - 1] > space.modules[place - 1].last()) assignment[--place] = 0;
    if (place == 0) return;
  }
}

// A limit with a random share of what random costs come to at most.
BudgetRule random_rule(const SearchSpace& space, std::mt19937& random, bool rising) {
  BudgetRule rule;
  rule.option = "--target";
  for (std::size_t i = 0; i < space.modules.size(); ++i) {
    rule.modules.push_back(i);
    std::vector<std::int64_t> costs = {0};
    while (costs.size() < space.modules[i].parameters.size())
      costs.push_back(costs.back() + static_cast<std::int64_t>(random() % 100));
    std::reverse(costs.begin(), costs.end());
    for (std::int64_t& cost : costs)
      if (rising) cost += static_cast<std::int64_t>(random() % 60);
    rule.costs.push_back(costs);
  }
  const std::int64_t least = rule.least_cost(), most = rule.greatest_cost();
  rule.limit = least + (most - least) * static_cast<std::int64_t>(20 + random() % 60) / 100;
  return rule;
}

SizeTarget by_table(const std::filesystem::path& path) {
  SizeTarget target;
  target.latency_table = path;
  return target;
}

bool can_grow(const Budget& budget, const Assignment& assignment) {
  for (std::size_t i = 0; i < assignment.size(); ++i) {
    Assignment larger = assignment;
    while (larger[i]-- > 0)
      if (budget.met_by(larger)) return true;
  }
  return false;
}

}  // namespace

TEST_CASE("under several limits an assignment of nearly the least loss is found, and bounded", "[budgets]") {
  int cases = 0, best = 0;
  double ratios = 0;
  for (std::uint32_t seed = 0; seed < 60; ++seed) {
    std::mt19937 random(seed);
    const SearchSpace space = space_of(2 + seed % 2, random);
    const bool rising = seed % 3 == 0;
    std::vector<BudgetRule> limits;
    for (std::size_t i = 0; i < 2 + seed % 2; ++i) limits.push_back(random_rule(space, random, rising));
    double least = std::numeric_limits<double>::infinity();
    std::int64_t largest = 0;
    const Budget plain{limits};
    for_all(space, [&](const Assignment& assignment) {
      if (!plain.met_by(assignment)) return;
      least = std::min(least, space.predicted_loss(assignment));
      largest = std::max(largest, space.parameters(assignment));
    });
    INFO("seed " << seed);
    if (std::isinf(least)) {
      CHECK(contains(message_of<UsageError>([&] { Budget::within(limits); }), "no assignment was found"));
      continue;
    }
    std::optional<Budget> budget;
    const std::string refused = message_of<UsageError>([&] { budget = Budget::within(limits); });
    if (!budget) {  // where nothing has to go, or costs rise, so that there need not be a way
      CHECK((contains(refused, "unpruned") || rising));
      continue;
    }
    EndLosses losses;
    for (const ModuleChoices& module : space.modules) losses.push_back(module.end_loss);
    const LeastLoss found = bounded_least_loss(space, *budget, losses);
    const double loss = space.predicted_loss(found.assignment);
    CHECK(plain.met_by(found.assignment));
    CHECK(loss >= least - 1e-9);
    CHECK(loss - found.above <= least + 1e-9);
    CHECK(found.assignment == least_loss(space, *budget));
    CHECK(plain.met_by(budget->uniform()));
    CHECK(most_parameters(space, *budget) >= largest);
    ++cases;
    best += loss <= least + 1e-9 ? 1 : 0;
    ratios += least > 0 ? loss / least : 1;
  }
  CHECK(cases > 40);
  CHECK(best >= cases * 3 / 4);
  CHECK(ratios / cases < 1.03);
}

TEST_CASE("under three limits on many modules the loss is near the bound", "[budgets]") {
  double longest = 0;
  for (std::uint32_t seed = 0; seed < 4; ++seed) {
    std::mt19937 random(seed);
    const SearchSpace space = space_of(40, random);
    SizeTarget target;
    target.sparsity = 0.4;
    target.kv_tokens = 100;
    target.kv_cache = 40 * 2 * 2 * head_dim * 2 * 100 * 3 / 4;
    const test::TemporaryFolder folder;
    test::write_text(folder / "t.csv", table_of(space, random).text());
    target.latency_table = folder / "t.csv";
    target.speedup = 1.6;
    const Budget budget = make_budget(space, target);
    EndLosses losses;
    for (const ModuleChoices& module : space.modules) losses.push_back(module.end_loss);
    const Stopwatch watch;
    const LeastLoss found = bounded_least_loss(space, budget, losses);
    longest = std::max(longest, watch.seconds());
    INFO("seed " << seed << ", " << budget.rules().size()
                 << " limits: " << space.predicted_loss(found.assignment) << ", above " << found.above);
    CHECK(budget.met_by(found.assignment));
    CHECK(found.above < 0.03 * space.predicted_loss(found.assignment));
  }
  WARN("80 modules, 3 limits: at most " << longest << " s");
}

TEST_CASE("under one limit whose costs rise in places the assignment of least loss is exact", "[budgets]") {
  for (std::uint32_t seed = 100; seed < 130; ++seed) {
    std::mt19937 random(seed);
    const SearchSpace space = space_of(2, random);
    const Budget budget = Budget::within({random_rule(space, random, true)});
    double least = std::numeric_limits<double>::infinity();
    for_all(space, [&](const Assignment& assignment) {
      if (budget.met_by(assignment)) least = std::min(least, space.predicted_loss(assignment));
    });
    const Assignment found = least_loss(space, budget);
    CHECK(budget.met_by(found));
    CHECK(space.predicted_loss(found) == least);
    CHECK(budget.met_by(budget.uniform()));
  }
}

TEST_CASE("levels that may not be taken are not, under several limits", "[budgets]") {
  std::mt19937 random(5);
  const SearchSpace space = space_of(3, random);
  const Budget budget =
      Budget::within({random_rule(space, random, false), random_rule(space, random, false)});
  EndLosses losses;
  for (const ModuleChoices& module : space.modules) losses.push_back(module.end_loss);
  const Assignment centre = least_loss(space, budget, losses);
  const Assignment near = least_loss(space, budget, near_only(losses, centre, 1));
  for (std::size_t i = 0; i < near.size(); ++i) CHECK(std::abs(near[i] - centre[i]) <= 1);
  CHECK(contains(message_of<UsageError>([&] {
                   least_loss(space, budget, near_only(losses, Assignment(space.modules.size(), 0), 0));
                 }),
                 "no assignment meets the target"));
}

TEST_CASE("mutations keep all limits and leave no room", "[budgets]") {
  for (std::uint32_t seed = 0; seed < 24; ++seed) {
    std::mt19937 random(seed);
    const SearchSpace space = space_of(2 + seed % 5, random);
    std::vector<BudgetRule> limits;
    for (std::size_t i = 0; i < 1 + seed % 3; ++i)
      limits.push_back(random_rule(space, random, seed % 2 == 0));
    std::optional<Budget> budget;
    message_of<UsageError>([&] { budget = Budget::within(limits); });
    if (!budget) continue;
    INFO("seed " << seed);
    Assignment assignment = budget->uniform();
    CHECK(budget->met_by(assignment));
    RandomStream stream(seed, {0, 0, 0, 1});
    std::set<Assignment> seen;
    int missed = 0, unfilled = 0, drawn_missed = 0;
    for (int i = 0; i < 200; ++i) {
      RandomStream again = stream;
      const Assignment child = mutate(*budget, assignment, stream);
      CHECK(child == mutate(*budget, assignment, again));
      missed += budget->met_by(child) ? 0 : 1;
      unfilled += child != assignment && budget->uneven() && can_grow(*budget, child) ? 1 : 0;
      seen.insert(child);
      assignment = child;
    }
    for (int i = 0; i < 5; ++i) drawn_missed += budget->met_by(random_assignment(*budget, stream)) ? 0 : 1;
    CHECK(missed == 0);
    CHECK(unfilled == 0);
    CHECK(drawn_missed == 0);
    CHECK(seen.size() > 5);
  }
}

TEST_CASE("the course of one limit and of a level is what it was before there were several", "[budgets]") {
  std::mt19937 random(12);
  const SearchSpace even = test::even_space(6, 5), uneven = test::uneven_space(random, 6);
  const std::int64_t half =
      uneven.fixed_parameters + (uneven.smallest_parameters() + uneven.dense_parameters()) / 2;
  const auto course = [](const Budget& budget) {
    RandomStream stream(11, {0, 0, 0, 1});
    Hash64 hash;
    Assignment assignment = budget.uniform();
    for (int i = 0; i < 220; ++i) {
      assignment = i < 200 ? mutate(budget, assignment, stream) : random_assignment(budget, stream);
      hash.add(std::as_bytes(std::span(assignment)));
    }
    return hex64(hash.value());
  };
  CHECK(course(Budget::of_level(even, 2)) == "dc14f2a29dbffeaf");
  CHECK(course(Budget::of_parameters(even, 900)) == "61bfc1ff84277e98");
  CHECK(course(Budget::of_parameters(uneven, half)) == "5cead09f06d42286");
  CHECK(course(Budget::within({parameter_rule(uneven, half)})) == "5cead09f06d42286");
}

TEST_CASE("what a limit does not count stays, where that limit is exceeded", "[budgets]") {
  std::mt19937 random(7);
  const SearchSpace space = space_of(4, random);
  SizeTarget target;
  target.kv_cache = 4 * 2 * head_dim * 2 * 100 * 2 / 2;  // half of 2 KV heads in 4 layers, 100 tokens
  target.kv_tokens = 100;
  const Budget budget = make_budget(space, target);
  REQUIRE(budget.rules().size() == 1);
  CHECK(budget.rules().front().limit == 6400);
  Assignment uniform = budget.uniform();
  RandomStream stream(1, {0, 0, 0, 1});
  for (int i = 0; i < 50; ++i) {
    for (std::size_t m = 1; m < uniform.size(); m += 2) CHECK(uniform[m] == 0);  // feed-forward parts
    uniform = mutate(budget, uniform, stream);
    CHECK(budget.met_by(uniform));
  }
}

TEST_CASE("bytes of weights are parameters of the checkpoint's type", "[budgets]") {
  std::mt19937 random(3);
  const SearchSpace space = space_of(3, random);
  SizeTarget bytes, parameters;
  bytes.memory = 8001;
  parameters.parameters = 4000;
  CHECK(resolved(space, bytes) == parameters);
  const Budget one = make_budget(space, bytes), other = make_budget(space, parameters);
  CHECK(one.rules().size() == 1);
  CHECK(!one.uneven());
  CHECK(one.uniform() == other.uniform());
  CHECK(one.rules().front().limit == other.rules().front().limit);
  // The least of several is the limit.
  bytes.parameters = 3500;
  CHECK(resolved(space, bytes).parameters == 3500);
  bytes.sparsity = 0.9;
  CHECK(resolved(space, bytes).parameters < 2500);
  bytes.memory = 100;
  CHECK(contains(message_of<UsageError>([&] { resolved(space, bytes); }), "1.95 KiB to"));
}

TEST_CASE("a latency or a speedup is met by the table", "[budgets]") {
  const test::TemporaryFolder folder;
  for (std::uint32_t seed = 0; seed < 10; ++seed) {
    std::mt19937 random(seed);
    const SearchSpace space = space_of(4, random);
    const LatencyTable table = table_of(space, random);
    const std::filesystem::path path = folder / "t.csv";
    test::write_text(path, table.text());
    const auto time_of = [&](const Assignment& assignment, LatencyPhase phase) {
      double sum = table.find(fixed_shape(space), phase)->seconds;
      for (std::size_t i = 0; i < assignment.size(); ++i)
        sum += table.find(part_shape(space, i, static_cast<std::size_t>(assignment[i])), phase)->seconds;
      return sum;
    };
    for (const LatencyPhase phase : {LatencyPhase::prefill, LatencyPhase::decode}) {
      const double dense = time_of(Assignment(space.modules.size(), 0), phase);
      SizeTarget target = by_table(path);
      target.speedup = 1.5;
      target.latency_phase = phase;
      const Budget faster = make_budget(space, target);
      for (const Assignment& one : {faster.uniform(), least_loss(space, faster)}) {
        CHECK(time_of(one, phase) <= dense / 1.5 + 1e-9);
        CHECK(!can_grow(faster, faster.uniform()));
      }
      target.speedup = std::nullopt;
      target.latency = static_cast<std::int64_t>(dense * 0.8e9);
      target.sparsity = 0.3;
      const Budget both = make_budget(space, target);
      CHECK(both.rules().size() == 2);
      const Assignment found = least_loss(space, both);
      CHECK(time_of(found, phase) <= dense * 0.8 + 1e-9);
      CHECK(space.parameters(found) <= *resolved(space, target).parameters);
      CHECK(resolved(space, resolved(space, target)) == resolved(space, target));
      CHECK(resolved(space, target).table_fingerprint == table.fingerprint(phase));
    }
  }
}

TEST_CASE("targets that cannot be met, or make no sense, say so", "[budgets]") {
  const test::TemporaryFolder folder;
  std::mt19937 random(2);
  const SearchSpace space = space_of(2, random);
  LatencyTable table = table_of(space, random, false);
  const std::filesystem::path path = folder / "t.csv";
  test::write_text(path, table.text());
  const auto refused = [&](const SizeTarget& target) {
    return message_of<UsageError>([&] { make_budget(space, target); });
  };
  SizeTarget target = by_table(path);
  target.latency = 1000;
  CHECK(contains(refused(target), "a target of 1 us, but assignments of this database have 60 us to"));
  target.latency = 1'000'000'000;
  CHECK(contains(refused(target), "the unpruned model meets the target"));
  target.latency = std::nullopt;
  target.speedup = 100;
  CHECK(contains(refused(target), "a speedup of 100, but by this table assignments of this database go to"));
  target.speedup = 0.5;
  CHECK(contains(refused(target), "a speedup of 0.5"));
  target.speedup = std::nullopt;
  CHECK(contains(refused(target), "0 targets"));
  target.sparsity = 0.5;
  CHECK(contains(refused(target), "a table without a target"));
  SizeTarget alone;
  alone.latency = 1000;
  CHECK(contains(refused(alone), "a latency without its table"));
  alone = {};
  alone.level = 2;
  alone.parameters = 3000;
  CHECK(contains(refused(alone), "2 targets"));
  alone = {};
  alone.kv_cache = 1000;
  CHECK(contains(refused(alone), "--kv-tokens"));
  alone.kv_tokens = 1;
  CHECK(contains(refused(alone), "the unpruned model meets the target"));
  alone = {};
  alone.sparsity = 0.5;
  alone.kv_tokens = 10;
  CHECK(contains(refused(alone), "--kv-tokens"));
}

TEST_CASE("times are read with their units", "[budgets]") {
  CHECK(parse_latency("20ms", "--x") == 20'000'000);
  CHECK(parse_latency("1.5 s", "--x") == 1'500'000'000);
  CHECK(parse_latency("0.5us", "--x") == 500);
  CHECK(parse_latency("7ns", "--x") == 7);
  for (const char* text : {"", "20", "ms", "-1ms", "0ms", "nans", "infs", "20 min", "1e30s", "20msx"})
    CHECK(contains(message_of<UsageError>([&] { parse_latency(text, "--x"); }), "is no time"));
}

TEST_CASE("a table of latencies is what was written", "[budgets]") {
  const test::TemporaryFolder folder;
  std::mt19937 random(2);
  const SearchSpace space = space_of(2, random);
  const LatencyTable table = table_of(space, random);
  const std::filesystem::path path = folder / "t.csv";
  test::write_text(path, table.text());
  CHECK(is_latency_table(path));
  const LatencyTable read = read_latency_table(path);
  CHECK(read.text() == table.text());
  REQUIRE(read.rows.size() == table.rows.size());
  CHECK(read.rows.front().conditions.device == "a machine, of ours");
  CHECK(read.fingerprint(LatencyPhase::prefill) == table.fingerprint(LatencyPhase::prefill));
  CHECK(read.fingerprint(LatencyPhase::prefill) != table.fingerprint(LatencyPhase::decode));
  // Columns in another order, as a spreadsheet writes them.
  test::write_text(
      path,
      "\xef\xbb\xbfseconds,kind,heads,kv_heads,columns,phase,device,hidden_size,head_dim,precision,"
      "batch,length\r\n\r\n 1e-3 ,\"ffn\",0,0,24,decode,\"x, y\",16,4,bf16,1,32\r\n");
  const LatencyTable other = read_latency_table(path);
  REQUIRE(other.rows.size() == 1);
  CHECK(other.rows[0].seconds == 1e-3);
  CHECK(other.rows[0].shape == PartShape{PartKind::ffn, 0, 0, 24});
}

TEST_CASE("a malformed table is refused with its line", "[budgets]") {
  const test::TemporaryFolder folder;
  const std::filesystem::path path = folder / "t.csv";
  const std::string header =
      "kind,heads,kv_heads,columns,phase,seconds,hidden_size,head_dim,precision,device,batch,length\n";
  const std::string row = "attn,2,1,0,prefill,0.001,16,4,bf16,cpu,1,32\n";
  const auto refused = [&](const std::string& text) {
    test::write_text(path, text);
    return message_of<InputError>([&] { read_latency_table(path); });
  };
  CHECK(refused(header + row).empty());
  CHECK(contains(refused(""), "no times"));
  CHECK(contains(refused(header), "no times"));
  CHECK(contains(refused("kind,heads\n" + row), "line 1: no column 'kv_heads'"));
  CHECK(contains(refused("watts," + header + row), "line 1: unknown column 'watts'"));
  CHECK(contains(refused("kind," + header + row), "line 1: the column 'kind' is there twice"));
  CHECK(contains(refused(header + row + row),
                 "line 3: attn of 2 heads on 1 KV heads (prefill) is there twice"));
  CHECK(contains(refused(header + row + "\nffn,0,0\n"), "line 4: 3 fields, not 12"));
  const std::vector<std::pair<std::string, std::string>> wrong = {
      {"mlp,2,1,0,prefill,0.001,16,4,bf16,cpu,1,32", "the kind 'mlp' is not attn or ffn or fixed"},
      {"attn,2.5,1,0,prefill,0.001,16,4,bf16,cpu,1,32", "'2.5' is no heads"},
      {"attn,-2,1,0,prefill,0.001,16,4,bf16,cpu,1,32", "'-2' is no heads"},
      {"attn,1,2,0,prefill,0.001,16,4,bf16,cpu,1,32", "1 heads on 2 KV heads"},
      {"attn,2,0,0,prefill,0.001,16,4,bf16,cpu,1,32", "2 heads on 0 KV heads"},
      {"attn,2,1,8,prefill,0.001,16,4,bf16,cpu,1,32", "attention has no columns"},
      {"ffn,2,1,8,prefill,0.001,16,4,bf16,cpu,1,32", "only attention has heads"},
      {"ffn,0,0,8,warm,0.001,16,4,bf16,cpu,1,32", "the phase 'warm' is not prefill or decode"},
      {"ffn,0,0,8,prefill,fast,16,4,bf16,cpu,1,32", "'fast' is no time in seconds"},
      {"ffn,0,0,8,prefill,nan,16,4,bf16,cpu,1,32", "'nan' is no time in seconds"},
      {"ffn,0,0,8,prefill,-1,16,4,bf16,cpu,1,32", "'-1' is no time in seconds"},
      {"ffn,0,0,8,prefill,,16,4,bf16,cpu,1,32", "'' is no time in seconds"},
      {"ffn,0,0,8,prefill,0.001,32,4,bf16,cpu,1,32", "another model, precision, device"},
      {"ffn,0,0,8,prefill,0.001,16,4,bf16,gpu,1,32", "another model, precision, device"},
      {"ffn,0,0,8,prefill,0.001,16,4,bf16,cpu,0,32", "'0' is no batch"}};
  for (const auto& [line, message] : wrong) {
    INFO(line);
    CHECK(contains(refused(header + row + line + "\n"), "line 3: " + message));
  }
  // Another phase may have another batch.
  CHECK(refused(header + row + "ffn,0,0,8,decode,0.001,16,4,bf16,cpu,8,64\n").empty());
}

TEST_CASE("a table of another model, or without a shape that is needed, is refused", "[budgets]") {
  const test::TemporaryFolder folder;
  std::mt19937 random(2);
  SearchSpace space = space_of(2, random);
  const LatencyTable whole = table_of(space, random);
  const auto refused = [&](const LatencyTable& table) {
    return message_of<InputError>([&] { latency_costs(space, table, LatencyPhase::prefill, "t.csv"); });
  };
  const auto without = [&](const std::function<bool(const LatencyRow&)>& gone) {
    LatencyTable table = whole;
    std::erase_if(table.rows, gone);
    return table;
  };
  CHECK(refused(whole).empty());
  const auto is = [](PartKind kind, std::int64_t heads, std::int64_t columns) {
    return [=](const LatencyRow& row) {
      return row.shape.kind == kind && row.shape.heads == heads && row.shape.columns == columns;
    };
  };
  CHECK(contains(refused(without(is(PartKind::ffn, 0, 18))), "no row for ffn of 18 columns (prefill)"));
  CHECK(contains(refused(without(is(PartKind::attention, 4, 0))),
                 "no row for attn of 4 heads on 2 KV heads (prefill)"));
  CHECK(refused(without(is(PartKind::ffn, 0, 0))).empty());  // what is gone takes no time
  CHECK(contains(refused(without(is(PartKind::fixed, 0, ids))), "no row for embedding and head"));
  CHECK(contains(refused(without([](const LatencyRow& row) { return row.phase == LatencyPhase::prefill; })),
                 "no times of prefill"));
  // A plan does not know which KV heads stay.
  const auto of_3_heads = is(PartKind::attention, 3, 0);
  LatencyTable guessed = whole;
  for (LatencyRow& row : guessed.rows)
    if (of_3_heads(row)) row.shape.kv_heads = 1;
  CHECK(contains(refused(guessed), "attn of 3 heads on 2 KV heads"));
  space.assumed = true;
  CHECK(refused(guessed).empty());
  space.hidden_size = 32;
  CHECK(contains(refused(whole), "the table is of another model: its hidden size is 16, not 32"));
  space.hidden_size = hidden;
  space.vocab_size = 60;
  CHECK(contains(refused(whole), "its vocabulary is 50, not 60"));
}
