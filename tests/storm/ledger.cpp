#include "ledger.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <map>
#include <sstream>
#include <stdexcept>
#include <unistd.h>

#include <galapagos/core/file.hpp>

namespace galapagos::storm {
namespace {

struct Counts {
  std::int64_t events = 0, survived = 0;
};

std::string text_of(const Json& event, const char* key) {
  return event.value(key, std::string());
}

}  // namespace

void Ledger::add(const std::vector<Json>& events) const {
  std::string text;
  for (const Json& event : events) text += event.dump() + "\n";
  const FileDescriptor file(file_, O_WRONLY | O_CREAT | O_APPEND);
  if (::write(file.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size()))
    throw std::runtime_error("cannot write " + file_.string());
}

std::vector<Json> Ledger::read() const {
  std::vector<Json> events;
  if (!std::filesystem::exists(file_)) return events;
  std::istringstream lines(read_file(file_));
  for (std::string line; std::getline(lines, line);) {
    Json json = Json::parse(line, nullptr, false);
    if (json.is_object()) events.push_back(std::move(json));
  }
  return events;
}

std::int64_t count_befallen(const std::vector<Json>& events) {
  std::int64_t count = 0;
  for (const Json& event : events) count += event.value("befell", false) ? 1 : 0;
  return count;
}

std::int64_t summarise(const std::vector<Json>& events, const std::string& program) {
  std::map<std::string, std::map<std::string, Counts>> table;
  std::map<std::string, Counts> sums;
  std::int64_t failed = 0;
  for (const Json& event : events) {
    const bool bad = !text_of(event, "wrong").empty();
    failed += bad ? 1 : 0;
    if (!event.value("befell", false)) continue;
    for (Counts* counts :
         {&table[text_of(event, "phase")][text_of(event, "fault")], &sums[text_of(event, "fault")]}) {
      ++counts->events;
      counts->survived += bad ? 0 : 1;
    }
  }
  const auto print_row = [&](const std::string& name, const std::map<std::string, Counts>& row) {
    fmt::print("{:<22}", name);
    Counts all;
    for (const auto& [fault, unused] : sums) {
      const auto found = row.find(fault);
      const Counts counts = found == row.end() ? Counts() : found->second;
      fmt::print(" {:>12}", counts.events == 0 ? "" : fmt::format("{}/{}", counts.survived, counts.events));
      all.events += counts.events;
      all.survived += counts.survived;
    }
    fmt::print(" {:>12}\n", fmt::format("{}/{}", all.survived, all.events));
  };
  fmt::print("{:<22}", "survived");
  for (const auto& [fault, unused] : sums) fmt::print(" {:>12}", fault);
  fmt::print(" {:>12}\n", "all");
  for (const auto& [phase, row] : table) print_row(phase, row);
  print_row("all", sums);
  for (const Json& event : events) {
    if (text_of(event, "wrong").empty()) continue;
    fmt::print("FAILED {}, {} {}: {}\n  again: {} {}\n", text_of(event, "phase"), text_of(event, "fault"),
               text_of(event, "moment"), text_of(event, "wrong"), program, text_of(event, "again"));
  }
  return failed;
}

}  // namespace galapagos::storm
