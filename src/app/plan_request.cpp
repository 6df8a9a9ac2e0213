#include "plan_request.hpp"

#include <algorithm>
#include <fmt/format.h>

#include <galapagos/core/text.hpp>

namespace galapagos::app {
void bind_machine(Options& list, PlanRequest& request) {
  const auto rate = [&](const char* name, double& member, const char* help) {
    list.add(name, member, help, {.least = 0, .refusal = "a negative rate", .remedy = "give 0 or more"});
  };
  list.add("ranks", request.ranks, "MPI ranks",
           {.least = 1,
            .most = 1e7,
            .refusal = "{}",
            .remedy = "give 1 or more",
            .none_at_0 = true,
            .required = true});
  list.add("nodes", request.machine.nodes, "that they are on, evenly",
           {.least = 1, .most = 1e7, .refusal = "{}", .remedy = "give 1 or more"});
  list.add_bytes("memory-per-node", request.machine.node_memory, "bytes, as 256G; 0: any number");
  list.add_bytes("gpu-memory", request.machine.gpu_memory,
                 "bytes of a GPU, one for each rank, as 80G; 0: ranks compute on CPUs");
  rate("peak-tflops", request.peak, "of a rank; 0: no times");
  rate("memory-bandwidth", request.bandwidth, "GB/s of a rank; 0: not counted");
  rate("network", request.network, "GB/s of a node; 0: not counted");
  rate("disk", request.disk, "GB/s of the file system; 0: not counted");
  list.add("efficiency", request.machine.efficiency, "share of these rates that is reached",
           {.least = 0,
            .most = 1,
            .above = true,
            .refusal = "an efficiency of {}",
            .remedy = "give a share above 0 and up to 1"});
}

/// Words in groups: an option with its values, or what stands before all options.
std::vector<std::vector<std::string>> grouped(const std::vector<std::string>& words) {
  std::vector<std::vector<std::string>> groups;
  for (const std::string& word : words) {
    if (groups.empty() || word.starts_with("--")) groups.emplace_back();
    groups.back().push_back(word);
  }
  return groups;
}

std::string option_of(const std::vector<std::string>& group) {
  if (!group[0].starts_with("--")) return {};
  return group[0].substr(2, group[0].find('=') - 2);
}

void bind(Options& list, PlanRequest& request) {
  list.describe("plan",
                "memory, file sizes, work and time of a command on a machine, from config.json alone; takes "
                "every option of the command too (and of the commands before it), and its INI file",
                "command");
  list.add("command", request.command,
           "sensitivity, database, search, stitch, distil, train, eval or generate (the word "
           "after 'plan'); without: all but distil and generate. Or collectives: "
           "see 'galapagos plan collectives --help'");
  list.add("model", request.model, "folder of a Hugging Face model, or its config.json", {.required = true});
  bind_machine(list, request);
  list.add("machine", request.machine_file,
           "INI file of these, as in config/machines; what is given besides goes before it");
  list.add("strict", request.strict, "fail (exit code 4) where memory is too small");
  list.add("json", request.json, "print JSON");
  bind_computing(list, request);
}

Options& Commands::of(const std::string& name) {
  const std::map<std::string, Options*> phases = {{"sensitivity", &sensitivity.options},
                                                  {"database", &database.options},
                                                  {"search", &search.options},
                                                  {"stitch", &stitch.options},
                                                  {"distil", &distil.options},
                                                  {"train", &train.options},
                                                  {"eval", &eval.options},
                                                  {"generate", &generate.options}};
  return *phases.at(name);
}

std::map<std::string, std::vector<std::string>> dealt_words(Commands& commands,
                                                            const std::vector<std::string>& words) {
  std::map<std::string, std::vector<std::string>> dealt;
  const auto give = [&](const std::string& name, const std::vector<std::string>& group) {
    dealt[name].insert(dealt[name].end(), group.begin(), group.end());
  };
  for (const std::vector<std::string>& group : grouped(words)) {
    const std::string option = option_of(group);
    const bool own = option.empty() || commands.plan.options.declares(option);
    if (own) give("plan", group);
    if (option.empty() || option == "command") continue;
    bool taken = false;
    for (const std::string& name : commands.planned) {
      if (!commands.of(name).declares(option)) continue;
      give(name, group);
      taken = true;
    }
    for (const std::string name : plan_names) {
      const bool planned =
          std::find(commands.planned.begin(), commands.planned.end(), name) != commands.planned.end();
      if (planned || (taken && !own) || !commands.of(name).declares(option)) continue;
      give(name, group);
      taken = true;
    }
    if (!own && !taken) {
      throw UsageError("unrecognised option '--" + printable(option) + "'", "galapagos plan",
                       "see 'galapagos plan --help' and the help of the command");
    }
  }
  return dealt;
}

std::vector<std::string> planned_commands(const std::vector<std::string>& words) {
  if (!words.empty() && !words[0].starts_with("--")) {
    if (std::find(plan_names.begin(), plan_names.end(), words[0]) != plan_names.end()) return {words[0]};
    throw UsageError("there is no plan of '" + printable(words[0]) + "'", "galapagos plan",
                     "choose sensitivity, database, search, stitch, distil, train, eval or generate, none "
                     "for all of them, "
                     "or collectives");
  }
  return {plan_names.begin(), plan_names.end()};
}

Machine read_machine(const PlanRequest& request) {
  Machine machine = request.machine;
  machine.ranks = static_cast<int>(request.ranks);
  if (machine.nodes > machine.ranks) {
    throw UsageError(fmt::format("{} ranks on {} nodes", machine.ranks, machine.nodes), "--nodes",
                     "give at most one node per rank");
  }
  if (machine.gpu_memory > 0 && request.backend == "cpu") {
    throw UsageError("GPUs' memory for a run on CPUs", "--gpu-memory", "leave it out, or --backend cpu");
  }
  machine.peak = request.peak * 1e12;
  machine.bandwidth = request.bandwidth * 1e9;
  machine.network = request.network * 1e9;
  machine.disk = request.disk * 1e9;
  return machine;
}

}  // namespace galapagos::app
