#include "command.hpp"

#include <galapagos/comm/agreement.hpp>
#include <galapagos/export/save.hpp>
#include <galapagos/io/model_files.hpp>
#include <galapagos/training/distil.hpp>

namespace galapagos::app {

void distil(const Communicator& world, const std::vector<std::string>& words) {
  Asked<DistilOptions> asked;
  if (!begin(world, asked, words)) return;
  DistilOptions& request = asked.request;
  request.config_ini = asked.options.resolved();
  const ops::Context context = make_context(world, request);
  request.make_collectives = collectives_for(context, request);
  run_distillation(world, context, request,
                   [&](const Checkpoint& parent, const HfConfig& config, std::span<const Checkpoint> changed,
                       const std::filesystem::path& folder) {
                     save_changed(world, parent, config, changed, folder, request.shard_bytes);
                   });
  if (!request.dry_run) agree_at_root(world, [&] { check_result(request.output); });
}

}  // namespace galapagos::app
