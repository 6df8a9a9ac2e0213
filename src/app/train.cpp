#include "command.hpp"

#include <galapagos/comm/agreement.hpp>
#include <galapagos/export/save.hpp>
#include <galapagos/io/model_files.hpp>
#include <galapagos/training/train.hpp>

namespace galapagos::app {

void train(const Communicator& world, const std::vector<std::string>& words) {
  Asked<TrainOptions> asked;
  if (!begin(world, asked, words)) return;
  TrainOptions& request = asked.request;
  request.config_ini = asked.options.resolved();
  const ops::Context context = make_context(world, request);
  request.make_collectives = collectives_for(context, request);
  run_training(world, context, request,
               [&](const HfConfig& config, std::span<const NamedTensor> values, const ReplicaGrid& grid,
                   DType dtype, const std::filesystem::path& folder) {
                 save_model(world, context, request.model, config, values, dtype, folder, request.shard_bytes,
                            &grid);
               });
  if (!request.dry_run) agree_at_root(world, [&] { check_result(request.output); });
}

}  // namespace galapagos::app
