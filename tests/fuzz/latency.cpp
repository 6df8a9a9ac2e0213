#include "target.hpp"

#include <galapagos/search/latency_table.hpp>

// A table of latencies.
namespace galapagos::fuzz {
namespace {

void read(std::string_view input) {
  const LatencyTable table = parse_latency_table(std::string(input), "x.csv");
  if (parse_latency_table(table.text(), "x.csv").text() != table.text())
    throw std::logic_error("a table that is written otherwise than it is read");
}

const Target target("latency", read);

}  // namespace
}  // namespace galapagos::fuzz
