#include "command.hpp"

#include <fmt/format.h>

#include <galapagos/comm/agreement.hpp>
#include <galapagos/core/file.hpp>
#include <galapagos/core/logging.hpp>
#include <galapagos/core/text.hpp>
#include <galapagos/model/family_rules.hpp>
#include <galapagos/search/expert_scores.hpp>
#include <galapagos/search/least_loss.hpp>

namespace galapagos::app {
namespace {

/// What decides: end losses, or for whole experts what they add (REAP), or what their removal loses.
enum class ScoreKind : std::uint8_t { end_loss, reap, loss };

struct AssignRequest {
  std::filesystem::path model, output;
  std::optional<std::filesystem::path> database, near;
  SizeTarget target;
  std::optional<std::int64_t> steps;
  bool fewest_steps = false;
  ScoreKind by = ScoreKind::end_loss;
  double perturb = 0;
  std::uint64_t seed = 0;
  bool fresh = false;
  std::string log_level = "info";
};

void bind(Options& list, AssignRequest& request) {
  list.describe("assign", "writes the assignment of least predicted end loss at a given size");
  list.add("model", request.model, "folder of a Hugging Face model", {.required = true});
  list.add("database", request.database, "its pruning database, made with --sensitivity", {.required = true});
  list.add("output", request.output, "the new file, a level for every module", {.required = true});
  bind(list, request.target);
  list.add(
      "near", request.near,
      "an assignment from which no level differs by more than --steps, as the one of the database's --path");
  list.add("steps", request.steps, "with --near: levels", {.least = 0});
  list.add("fewest-steps", request.fewest_steps,
           "with --near: what differs by the fewest levels in all, and of that the least loss");
  list.add_choice(
      "by", request.by, "score",
      {{"end-loss", ScoreKind::end_loss}, {"reap", ScoreKind::reap}, {"loss", ScoreKind::loss}},
      "what decides: end losses; or of whole experts, as many of each layer, the mean size of what they "
      "put out (reap) or the loss of their removal (loss)");
  list.add("perturb", request.perturb,
           "multiply every module's end losses by exp(X n), n standard normal: other assignments near the "
           "best",
           {.least = 0, .most = 10, .refusal = "{}", .remedy = "give 0 to 10, as 0.1"});
  list.add("seed", request.seed, "of --perturb");
  list.add("fresh", request.fresh, "replace another assignment that is there");
  bind_log_level(list, request.log_level);
}

/// Everything that is wrong before the model is opened.
void check_assign(const AssignRequest& request) {
  if (request.near.has_value() != (request.steps || request.fewest_steps)) {
    throw UsageError("one without the other", "--near, --steps",
                     "give both, as --near A.txt --steps 2, or --near A.txt --fewest-steps");
  }
  if (request.by != ScoreKind::end_loss && (request.near || request.perturb > 0 || request.target.level ||
                                            request.target.experts != ExpertTie::free))
    throw UsageError("scores of whole experts with what is for levels or end losses",
                     "--by, --near, --perturb, --target-level, --experts",
                     "leave the others out, and give --target-sparsity");
}

/// InputError where there is another assignment and --fresh was not given, or what is none.
void write_assignment(const AssignRequest& request, const SearchSpace& space, const Assignment& assignment) {
  const std::string text = to_text(space, assignment);
  if (std::filesystem::exists(request.output)) {
    if (read_file(request.output) == text) return log_info("{} is complete already", request.output.string());
    if (!request.fresh)
      throw InputError("another assignment is there", request.output.string(),
                       "give --fresh to replace it, or another --output");
    read_assignment(space, request.output);  // nothing but an assignment is ever replaced
  }
  write_file_atomically(request.output, text);
}

/// With what the assignment costs under limits on something else than parameters.
std::string described(const SearchSpace& space, const Budget& budget, const char* name,
                      const Assignment& assignment) {
  std::string text = fmt::format("{:<12} {:>16}", name,
                                 human_count(static_cast<std::uint64_t>(space.parameters(assignment))));
  if (space.has_end_losses()) text += fmt::format(" {:>16.6f}", space.predicted_loss(assignment));
  for (const BudgetRule& rule : budget.rules())
    if (rule.unit.empty()) text += fmt::format("   {}", rule.text(rule.cost(assignment)));
  return text + "\n";
}

/// Of each module that is an expert.
std::vector<double> scores_of_experts(const DatabaseReader& database, const SearchSpace& space,
                                      ScoreKind kind) {
  std::vector<double> scores(space.modules.size(), 0);
  for (std::size_t i = 0; i < scores.size(); ++i) {
    const ModuleId& module = space.modules[i].id;
    if (module.expert == no_expert) continue;
    scores[i] = kind == ScoreKind::reap ? database.use(module).value().reap() : database.loss(module).back();
  }
  return scores;
}

}  // namespace

void assign(const Communicator& world, const std::vector<std::string>& words) {
  Asked<AssignRequest> asked;
  if (!begin(world, asked, words)) return;
  const AssignRequest& request = asked.request;
  agree(world, [&] { check_assign(request); });
  const auto model = open_modules(world, request.model, request.database);
  agree(world, [&] {
    if (request.target.by_latency())
      refuse_mixture(model->config, "a target of latency", "--target-latency, --target-speedup",
                     "give --target-params or --target-sparsity");
  });
  agree(world, [&] { restrict_to(request.target, model->space); });
  const SearchSpace& space = model->space;
  std::string table;
  agree_at_root(world, [&] {
    const Budget budget = make_budget(space, request.target);
    if (request.by != ScoreKind::end_loss) {
      const Assignment found =
          without_experts(space, budget, scores_of_experts(*model->database, space, request.by));
      write_assignment(request, space, found);
      table = fmt::format("{:<12} {:>16}{}\n", "", "parameters",
                          space.has_end_losses() ? "   predicted loss   in nats per token" : "") +
              described(space, budget, "dense", Assignment(space.modules.size(), 0)) +
              described(space, budget, "assigned", found);
      return;
    }
    if (!space.has_end_losses()) {
      throw InputError("the database has no end losses", request.database->string(),
                       "make it with 'galapagos database --sensitivity'");
    }
    const RandomStream random(request.seed, {});
    EndLosses losses = perturbed_end_losses(space, request.perturb, random);
    if (request.near) {
      const Assignment centre = read_assignment(space, *request.near);
      if (request.steps) losses = near_only(std::move(losses), centre, *request.steps);
      if (request.fewest_steps) losses = steps_first(std::move(losses), centre);
    }
    const LeastLoss found = bounded_least_loss(space, budget, losses);
    const Assignment& best = found.assignment;
    write_assignment(request, space, best);
    const Assignment dense(space.modules.size(), 0);
    table = fmt::format("{:<12} {:>16} {:>16}   in nats per token\n", "", "parameters", "predicted loss") +
            described(space, budget, "dense", dense) + described(space, budget, "uniform", budget.uniform()) +
            described(space, budget, "assigned", best);
    if (found.above > 0 && !request.fewest_steps)
      table += fmt::format("at most {:.6f} above the least under these limits\n", found.above);
  });
  print(world, table);
}

}  // namespace galapagos::app
