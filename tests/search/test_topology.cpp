#include "assignment/small_space.hpp"
#include "support/catch.hpp"

#include <map>
#include <set>

#include <galapagos/search/topology.hpp>

using namespace galapagos;
using test::contains;

namespace {

using Migrations = std::vector<Migration>;

Migrations migrations(const std::string& name, std::int64_t islands, const std::string& migrants = "2",
                      std::int64_t generation = 10) {
  return make_topology(name, migrants, 10, islands, 3).after(generation);
}

std::string refusal(const std::string& name, const std::string& migrants, std::int64_t islands = 2,
                    std::int64_t interval = 1) {
  return test::message_of<UsageError>([&] { make_topology(name, migrants, interval, islands, 0); });
}

}  // namespace

TEST_CASE("who sends to whom", "[topology]") {
  CHECK(migrations("ring", 1).empty());
  CHECK(migrations("ring", 2) == Migrations{{1, 0, 2}, {0, 1, 2}});
  CHECK(migrations("ring", 3) == Migrations{{2, 0, 2}, {0, 1, 2}, {1, 2, 2}});
  CHECK(migrations("ring", 5) == Migrations{{4, 0, 2}, {0, 1, 2}, {1, 2, 2}, {2, 3, 2}, {3, 4, 2}});
  CHECK(migrations("complete", 1).empty());
  CHECK(migrations("complete", 2) == Migrations{{1, 0, 2}, {0, 1, 2}});
  CHECK(migrations("complete", 3) ==
        Migrations{{1, 0, 2}, {2, 0, 2}, {0, 1, 2}, {2, 1, 2}, {0, 2, 2}, {1, 2, 2}});
  CHECK(migrations("complete", 5).size() == 20);
  CHECK(migrations("star", 1).empty());
  CHECK(migrations("star", 2) == Migrations{{1, 0, 2}, {0, 1, 2}});
  CHECK(migrations("star", 3) == Migrations{{1, 0, 2}, {2, 0, 2}, {0, 1, 2}, {0, 2, 2}});
  CHECK(migrations("star", 5).size() == 8);
  CHECK(migrations("random", 1).empty());
  CHECK(migrations("random", 2) == Migrations{{1, 0, 2}, {0, 1, 2}});
  for (const std::int64_t islands : {1, 2, 3, 5}) CHECK(migrations("none", islands).empty());
  CHECK(migrations("matrix", 1, "3").empty());  // to oneself
  CHECK(migrations("matrix", 2, "0 1; 4 0") == Migrations{{1, 0, 4}, {0, 1, 1}});
  CHECK(migrations("matrix", 3, "0,0,7;0,9,0;1,0,0") == Migrations{{2, 0, 1}, {0, 2, 7}});
  CHECK(migrations("matrix", 5, "0 0 0 0 0;0 0 0 0 0;0 0 0 0 1;0 0 0 0 0;0 0 0 0 0") ==
        Migrations{{2, 4, 1}});
}

TEST_CASE("no more arrive than the topology says", "[topology]") {
  for (const char* name : {"ring", "complete", "star", "random", "none"}) {
    for (const std::int64_t islands : {1, 2, 5}) {
      const Topology topology = make_topology(name, "3", 1, islands, 5);
      for (std::int64_t generation = 1; generation < 30; ++generation) {
        std::map<std::int64_t, std::int64_t> arrivals;
        for (const Migration& one : topology.after(generation)) arrivals[one.to] += one.count;
        for (const auto& [to, count] : arrivals) CHECK(count <= topology.most_arrivals());
      }
    }
  }
  CHECK(make_topology("none", "3", 1, 4, 0).most_arrivals() == 0);
  CHECK(make_topology("ring", "3", 1, 4, 0).most_arrivals() == 3);
  CHECK(make_topology("complete", "3", 1, 4, 0).most_arrivals() == 9);
  CHECK(make_topology("matrix", "0 1 2; 1 0 4; 0 1 0", 1, 3, 0).most_arrivals() == 6);
}

TEST_CASE("migrations start every so many generations", "[topology]") {
  for (const char* name : {"ring", "complete", "star", "random"}) {
    const Topology topology = make_topology(name, "1", 3, 4, 0);
    for (std::int64_t generation = 1; generation < 20; ++generation) {
      CHECK(topology.after(generation).empty() == (generation % 3 != 0));
    }
    CHECK(topology.after(0).empty());
    const Topology never = make_topology(name, "1", 0, 4, 0), nobody = make_topology(name, "0", 1, 4, 0);
    for (std::int64_t generation = 1; generation < 20; ++generation) {
      CHECK(never.after(generation).empty());
      CHECK(nobody.after(generation).empty());
    }
  }
}

TEST_CASE("the most that an edge carries", "[topology]") {
  CHECK(make_topology("ring", "3", 1, 4, 0).most_migrants() == 3);
  CHECK(make_topology("random", "0", 1, 4, 0).most_migrants() == 0);
  CHECK(make_topology("none", "3", 1, 4, 0).most_migrants() == 0);
  CHECK(make_topology("matrix", "0 1 0; 5 0 0; 0 0 0", 1, 3, 0).most_migrants() == 5);
}

TEST_CASE("random destinations are others, evenly, and drawn anew", "[topology]") {
  for (const std::int64_t islands : {2, 3, 5}) {
    const Topology topology = make_topology("random", "1", 1, islands, 7);
    std::map<std::pair<std::int64_t, std::int64_t>, int> seen;
    std::set<std::vector<std::int64_t>> patterns;
    constexpr int generations = 3000;
    bool sound = true;
    for (std::int64_t generation = 1; generation <= generations; ++generation) {
      const Migrations all = topology.after(generation);
      sound = sound && all.size() == static_cast<std::size_t>(islands) && all == topology.after(generation);
      std::vector<std::int64_t> to(static_cast<std::size_t>(islands), -1);
      for (std::size_t i = 0; i < all.size(); ++i) {
        sound = sound && all[i].from != all[i].to && all[i].count == 1;
        sound = sound &&
                (i == 0 || std::pair(all[i - 1].to, all[i - 1].from) < std::pair(all[i].to, all[i].from));
        ++seen[{all[i].from, all[i].to}];
        to.at(static_cast<std::size_t>(all[i].from)) = all[i].to;
      }
      patterns.insert(to);
    }
    CHECK(sound);
    CHECK(seen.size() == static_cast<std::size_t>(islands * (islands - 1)));
    const double expected = static_cast<double>(generations) / static_cast<double>(islands - 1);
    for (const auto& [edge, count] : seen) CHECK(std::abs(count - expected) <= 5 * std::sqrt(expected));
    if (islands == 3) CHECK(patterns.size() == 8);
    if (islands == 5) CHECK(patterns.size() > 900);  // of 1024
  }
  const auto other_seed = make_topology("random", "1", 1, 5, 8),
             same_seed = make_topology("random", "1", 1, 5, 7);
  int same = 0;
  for (std::int64_t generation = 1; generation <= 50; ++generation) {
    same += other_seed.after(generation) == same_seed.after(generation) ? 1 : 0;
  }
  CHECK(same < 5);
}

TEST_CASE("topologies that cannot be", "[topology]") {
  CHECK(contains(refusal("torus", "1"), "unknown topology 'torus'"));
  CHECK(contains(refusal("", "1"), "unknown topology"));
  CHECK(contains(refusal("Ring", "1"), "--topology"));
  for (const char* migrants : {"", "1 2", "-1", "1001", "99999999999"}) {
    INFO(migrants);
    CHECK(contains(refusal("ring", migrants), "is not one number from 0 to 1000"));
  }
  for (const char* migrants : {"two", "1.5", "1e3", "1;x", "99999999999999999999"}) {
    CHECK(contains(refusal("ring", migrants), "not a whole number"));
    CHECK(contains(refusal("matrix", migrants), "not a whole number"));
  }
  for (const char* migrants : {"", "1", "0 1", "0 1; 1", "0 1; 1 0; 0 0", "0 1 0; 1 0 0", "0 -1; 1 0",
                               "0 1001; 1 0", "0 1; ; 1 0", ";;"}) {
    INFO(migrants);
    CHECK(contains(refusal("matrix", migrants), "not 2 rows of 2 numbers from 0"));
  }
  CHECK(refusal("matrix", "0 1; 1 0").empty());
  CHECK(refusal("matrix", " 0,1 ;1,0; ").empty() == false);
  CHECK(contains(refusal("ring", "1", 2, -1), "a negative interval"));
}
