#include "plan_commands.hpp"
#include "plan_parts.hpp"
#include "planner.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <sstream>

#include <galapagos/comm/agreement.hpp>
#include <galapagos/core/text.hpp>

namespace galapagos::app {
namespace {

/// A name and what is said of it, in lines that fit a screen.
std::string row(const std::string& name, const std::string& value) {
  constexpr std::size_t indent = 20, width = 100;
  std::string text = fmt::format("{:<{}}", name, indent);
  std::size_t at = indent;
  std::istringstream words(value);
  for (std::string word; words >> word; at += word.size() + 1) {
    if (at > indent && at + word.size() > width) {
      text += fmt::format("\n{:<{}}", "", indent);
      at = indent;
    }
    text += (at > indent ? " " : "") + word;
  }
  return text + "\n";
}

}  // namespace

std::optional<std::string> Planner::first_warning() const {
  for (const PlannedPhase& phase : phases_) {
    if (!phase.warnings.empty()) return phase.name + ": " + phase.warnings.front();
  }
  return std::nullopt;
}

/// Of all that is planned; nothing where no times are.
std::optional<Bill> Planner::bill() const {
  if (machine_.peak <= 0) return std::nullopt;
  double seconds = 0;
  for (const PlannedPhase& phase : phases_) {
    if (phase.json.contains("seconds")) seconds += phase.json["seconds"]["total"].get<double>();
  }
  return planned_bill(machine_, seconds);
}

Json Planner::json() const {
  Json json;
  json["kind"] = "plan";
  json["model"] = {{"model_type", model_.config.model_type},
                   {"layers", model_.config.layers},
                   {"parameters", parameters_in_model(model_.config)},
                   {"dtype", name_of(model_.stored)},
                   {"precision", name_of(model_.precision)}};
  json["machine"] = {{"ranks", machine_.ranks},
                     {"nodes", machine_.nodes},
                     {"memory_per_node", machine_.node_memory},
                     {"gpu_memory", machine_.gpu_memory},
                     {"efficiency", machine_.efficiency}};
  json["assumed"] = assumed_;
  if (const auto whole = bill()) json["bill"] = hours_json(*whole);
  json["warnings"] = Json::array();
  for (const PlannedPhase& phase : phases_) {
    json[phase.name] = phase.json;
    for (const std::string& warning : phase.warnings) json["warnings"].push_back(phase.name + ": " + warning);
  }
  return json;
}

std::string Planner::text() const {
  const HfConfig& config = model_.config;
  const auto whole = static_cast<std::uint64_t>(parameters_in_model(config));
  std::string text = row("model", fmt::format("{}, {} layers of {}, {} parameters, {} in {}; computed in {}",
                                              config.model_type, config.layers, config.hidden_size,
                                              human_count(whole), human_bytes(whole * size_of(model_.stored)),
                                              name_of(model_.stored), name_of(model_.precision)));
  text +=
      row("machine",
          fmt::format(
              "{} ranks, {} a node{}{}", machine_.ranks, machine_.ranks_per_node(),
              machine_.node_memory == 0 ? "" : " of " + human_bytes(machine_.node_memory),
              machine_.gpu_memory == 0 ? "" : ", a GPU of " + human_bytes(machine_.gpu_memory) + " each"));
  if (machine_.peak > 0) {
    text +=
        row("rates", fmt::format("of a rank {:g} Tflop/s and {:g} GB/s of memory, of a node {:g} GB/s, disk "
                                 "{:g} GB/s (0: not counted); {:.0f} % of them is reached",
                                 machine_.peak / 1e12, machine_.bandwidth / 1e9, machine_.network / 1e9,
                                 machine_.disk / 1e9, 100 * machine_.efficiency));
  }
  for (const PlannedPhase& phase : phases_) {
    text += "\n" + phase.name + "\n";
    for (const auto& [name, value] : phase.rows) text += row("  " + name, value);
    for (const std::string& warning : phase.warnings) text += row("  TOO SMALL", warning);
  }
  text += "\n";
  if (const auto of_all = bill(); of_all && phases_.size() > 1)
    text += row("bill of all", "~ " + hours_text(*of_all) + " in " + human_duration(of_all->seconds));
  if (!assumed_.empty()) text += row("assumed", fmt::format("{}", fmt::join(assumed_, "; ")));
  text +=
      row("note", fmt::format("memory is that of the worst rank, without the program itself (about 0.1 GiB) "
                              "and the page cache; ~ is an estimate{}",
                              machine_.peak > 0 ? "" : "; --peak-tflops and other rates give times"));
  return text;
}

void plan(const Communicator& world, const std::vector<std::string>& words) {
  if (!words.empty() && words[0] == "collectives") {
    return plan_collectives(world, {words.begin() + 1, words.end()});
  }
  Commands commands;
  std::map<std::string, std::vector<std::string>> dealt;
  agree(world, [&] {
    commands.planned = planned_commands(words);
    dealt = dealt_words(commands, with_machine_file(words));
  });
  if (!begin(world, commands.plan, dealt["plan"])) return;
  agree_at_root(world, [&] {
    if (commands.plan.request.command && commands.planned.size() > 1) {
      throw UsageError("a command after the options", "galapagos plan", "name it right after 'plan'");
    }
    for (const char* name : plan_names) commands.of(name).parse(dealt[name]);
    Planner planner(commands);
    planner.plan();
    print(world, commands.plan.request.json ? planner.json().dump(2) + "\n" : planner.text());
    if (const auto warning = planner.first_warning(); warning && commands.plan.request.strict) {
      throw ResourceError("the plan does not fit", *warning, "see the plan");
    }
  });
}

}  // namespace galapagos::app
