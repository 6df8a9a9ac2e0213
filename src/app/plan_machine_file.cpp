#include "plan_request.hpp"

#include <cstdlib>

namespace galapagos::app {
namespace {

constexpr std::array machine_options = {"nodes",       "memory-per-node",  "gpu-memory",
                                        "peak-tflops", "memory-bandwidth", "network",
                                        "disk",        "efficiency"};

/// The value of an option among words; empty where it is not there.
std::string value_of(const std::vector<std::vector<std::string>>& groups, const std::string& name) {
  for (const std::vector<std::string>& group : groups) {
    if (option_of(group) != name) continue;
    const std::size_t equals = group[0].find('=');
    if (equals != std::string::npos) return group[0].substr(equals + 1);
    return group.size() > 1 ? group[1] : "";
  }
  return {};
}

/// What an INI file says of a machine.
struct MachineFile {
  PlanRequest request;
  std::int64_t ranks_per_node = 1;
  Options options;

  explicit MachineFile(const std::string& path) {
    options.describe("plan", "of a machine");
    request.ranks = 1;  // else none, which is refused
    bind_machine(options, request);
    options.add("ranks-per-node", ranks_per_node, "that a job starts",
                {.least = 1, .most = 1e5, .refusal = "{}", .remedy = "give 1 or more"});
    options.parse({"--config", path});
    options.take();
    options.check();
    if (options.given("ranks"))
      throw UsageError("says how many ranks there are", path,
                       "give 'ranks-per-node' there, and --ranks or --nodes");
  }
};

}  // namespace

std::vector<std::string> with_machine_file(const std::vector<std::string>& words) {
  const std::vector<std::vector<std::string>> groups = grouped(words);
  const std::string path = value_of(groups, "machine");
  if (path.empty()) return words;
  const MachineFile file(path);
  std::vector<std::string> all = words;
  const auto add = [&](const std::string& name, const std::string& value) {
    if (value_of(groups, name).empty()) all.insert(all.end(), {"--" + name, value});
  };
  for (const char* name : machine_options)
    if (file.options.given(name)) add(name, file.options.words(name).front());
  if (file.options.given("ranks-per-node")) {
    const std::string nodes = value_of(groups, "nodes");
    const std::int64_t of_words =
        nodes.empty() ? 0 : std::atoll(nodes.c_str());  // what is wrong, is refused later
    add("ranks",
        std::to_string(file.ranks_per_node * (of_words > 0 ? of_words : file.request.machine.nodes)));
  }
  return all;
}

}  // namespace galapagos::app
