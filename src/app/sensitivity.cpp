#include "command.hpp"

#include <galapagos/assignment/weight_in_place.hpp>
#include <galapagos/comm/agreement.hpp>
#include <galapagos/core/hash.hpp>
#include <galapagos/pruning/sensitivity.hpp>

namespace galapagos::app {

void sensitivity(const Communicator& world, const std::vector<std::string>& words) {
  Asked<SensitivityOptions> asked;
  if (!begin(world, asked, words)) return;
  SensitivityOptions& request = asked.request;
  agree(world, [&] {
    if (request.divergence) {
      asked.options.require("reference");
      if (!request.assignment) {
        throw UsageError("a model diverges only once it is pruned", "--from kl",
                         "give --database and --assignment");
      }
    } else if (request.reference) {
      throw UsageError("nothing is compared with it", "--reference", "use it together with --from kl");
    }
  });
  request.fewer_tokens = !asked.options.given("calibration-tokens");
  const ops::Context context = make_context(world, request);
  request.make_collectives = collectives_for(context, request);
  const auto model =
      open_model(world, request.model, request.database, request.assignment, request.precision);
  SensitivityModel measured;
  measured.config = model->config;
  measured.precision = model->precision;
  agree_at_root(world, [&] { measured.fingerprint = hex64(model->checkpoint->fingerprint()); });
  measured.fingerprint = world.broadcast_string(measured.fingerprint);
  if (model->database) {
    const DatabaseHeader& header = model->database->header();
    measured.assignment_fingerprint = hex64(Hash64()
                                                .add(to_text(model->space, model->assignment))
                                                .add(header.created)
                                                .add(header.calibration_fingerprint)
                                                .value());
  }
  measured.source = [&](int shard, int shards) { return model->source(context, shard, shards); };
  if (request.divergence) {
    for (std::size_t i = 0; i < model->assignment.size(); ++i) {
      const auto level = static_cast<std::size_t>(model->assignment[i]);
      measured.kept.push_back(model->space.modules[i].kept.count(level));
    }
    agree_at_root(world, [&] {
      if (hex64(Checkpoint(*request.reference).fingerprint()) == measured.fingerprint) return;
      throw InputError("the database's levels are of another model than the reference",
                       request.reference->string(),
                       "give the model that the database was made from, as --model");
    });
    measured.dense = [&](int shard, int shards) {
      return checkpoint_source(*model->checkpoint, model->config, part_of_model(model->config, shard, shards),
                               ops::working_type(context.device(), model->precision), context.device());
    };
    measured.in_place = [&](const ModuleId& module) {
      return weight_in_place(*model->checkpoint, model->config, *model->database, model->space,
                             model->assignment, module);
    };
  }
  measure_sensitivities(world, context, request, measured);
}

}  // namespace galapagos::app
