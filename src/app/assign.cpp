#include "command.hpp"

#include <fmt/format.h>

#include <galapagos/comm/agreement.hpp>
#include <galapagos/core/file.hpp>
#include <galapagos/core/text.hpp>
#include <galapagos/search/least_loss.hpp>

namespace galapagos::app {
namespace po = boost::program_options;
namespace {

Options declare_assign() {
  Options options("assign", "writes the assignment of least predicted end loss at a given size");
  options.declared().add_options()("model", po::value<std::string>(), "folder of a Hugging Face model")(
      "database", po::value<std::string>(), "its pruning database, made with --sensitivity")(
      "output", po::value<std::string>(), "the new file, a level for every module");
  declare_target(options);
  options.declared().add_options()(
      "near", po::value<std::string>(),
      "an assignment from which no level differs by more than --steps, as the one of the database's --path")(
      "steps", po::value<std::int64_t>(), "with --near: levels")(
      "fewest-steps", po::bool_switch(),
      "with --near: what differs by the fewest levels in all, and of that the least loss")(
      "perturb", po::value<double>()->default_value(0),
      "multiply every module's end losses by exp(X n), n standard normal: other assignments near the best")(
      "seed", po::value<std::int64_t>()->default_value(0), "of --perturb");
  declare_common(options, false);
  return options;
}

/// Everything that is wrong before the model is opened.
void check_assign(const Options& options) {
  for (const char* name : {"model", "database", "output"}) options.require(name);
  if (options.has("near") != (options.has("steps") || options.flag("fewest-steps"))) {
    throw UsageError("one without the other", "--near, --steps",
                     "give both, as --near A.txt --steps 2, or --near A.txt --fewest-steps");
  }
  if (const auto steps = options.find<std::int64_t>("steps"); steps && *steps < 0)
    throw UsageError(fmt::format("{}", *steps), "--steps", "give 0 or more");
  const auto perturb = options.get<double>("perturb");
  if (!(perturb >= 0 && perturb <= 10)) {
    throw UsageError(fmt::format("{:g}", perturb), "--perturb", "give 0 to 10, as 0.1");
  }
  const std::filesystem::path output = options.get<std::string>("output");
  if (std::filesystem::exists(output)) {
    throw InputError("exists already", output.string(), "remove it or give another output");
  }
}

std::string described(const SearchSpace& space, const char* name, const Assignment& assignment) {
  return fmt::format("{:<12} {:>16} {:>16.6f}\n", name,
                     human_count(static_cast<std::uint64_t>(space.parameters(assignment))),
                     space.predicted_loss(assignment));
}

}  // namespace

void assign(const Communicator& world, const std::vector<std::string>& words) {
  Options options = declare_assign();
  if (!begin(world, options, words)) return;
  agree(world, [&] { check_assign(options); });
  const auto model =
      open_modules(world, options.get<std::string>("model"), options.find<std::string>("database"));
  const SearchSpace& space = model->space;
  std::string table;
  agree_at_root(world, [&] {
    const Budget budget = make_budget(space, target_of(options));
    if (!space.has_end_losses()) {
      throw InputError("the database has no end losses", options.get<std::string>("database"),
                       "make it with 'galapagos database --sensitivity'");
    }
    const RandomStream random(static_cast<std::uint64_t>(options.get<std::int64_t>("seed")), {});
    EndLosses losses = perturbed_end_losses(space, options.get<double>("perturb"), random);
    if (const auto near = options.find<std::string>("near")) {
      const Assignment centre = read_assignment(space, *near);
      if (const auto steps = options.find<std::int64_t>("steps"))
        losses = near_only(std::move(losses), centre, *steps);
      if (options.flag("fewest-steps")) losses = steps_first(std::move(losses), centre);
    }
    const Assignment best = least_loss(space, budget, losses);
    write_file_atomically(options.get<std::string>("output"), to_text(space, best));
    const Assignment dense(space.modules.size(), 0);
    table = fmt::format("{:<12} {:>16} {:>16}   in nats per token\n", "", "parameters", "predicted loss") +
            described(space, "dense", dense) + described(space, "uniform", budget.uniform()) +
            described(space, "assigned", best);
  });
  print(world, table);
}

}  // namespace galapagos::app
