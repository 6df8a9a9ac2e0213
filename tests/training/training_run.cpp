#include "training_run.hpp"

#include "scripted_signals.hpp"
#include "support/files.hpp"

#include <fstream>

#include <galapagos/comm/agreement.hpp>
#include <galapagos/core/error.hpp>

namespace galapagos::test {
namespace {

std::vector<Json> metrics_of(const std::filesystem::path& file) {
  std::vector<Json> metrics;
  std::ifstream lines(file);
  for (std::string line; std::getline(lines, line);) {
    Json json = Json::parse(line, nullptr, false);
    if (json.is_object()) {
      json.erase("elapsed");
      json.erase("tokens_per_second");
    }
    metrics.push_back(json);
  }
  return metrics;
}

}  // namespace

TrainOptions small_training(const Communicator& comm, const std::string& model, const SharedFolder& folder) {
  TrainOptions options;
  options.model = data_file("models/" + model);
  options.data = {folder / "text.jsonl"};
  options.eval_data = {folder / "eval.jsonl"};
  options.output = folder / "run";
  if (comm.is_root()) {
    std::ifstream sample(data_file("text/sample.jsonl"));
    std::ofstream text(options.data.front()), eval(options.eval_data.front());
    std::string line;
    for (int i = 0; i < 8 && std::getline(sample, line); ++i) (i < 6 ? text : eval) << line << '\n';
  }
  comm.barrier();
  options.tokens = 1400;
  options.step_tokens = 200;
  options.batch_tokens = 64;
  options.sequence_length = 48;
  options.learning_rate = 3e-3;
  options.warmup_share = 0.3;
  options.checkpoint_every = 0;
  options.seed = 11;
  return options;
}

void copy_with_tokenizer(const Communicator& comm, const std::string& model,
                         const std::filesystem::path& folder) {
  if (comm.is_root()) {
    const std::filesystem::path parent = data_file("models/" + model.substr(0, model.find('_')) + "_tiny");
    std::filesystem::copy(data_file("models/" + model), folder);
    for (const char* file : {"tokenizer.json", "tokenizer_config.json"})
      std::filesystem::copy(parent / file, folder / file);
  }
  comm.barrier();
}

RunEnd run_to_end(const Communicator& comm, const TrainOptions& options) {
  RunEnd end;
  const ModelWriter keep = [&](const HfConfig&, std::span<const NamedTensor> values, const ReplicaGrid&,
                               DType, const std::filesystem::path&) {
    for (const NamedTensor& value : values) {
      const auto floats = value.tensor.float_span();
      end.model.insert(end.model.end(), floats.begin(), floats.end());
    }
  };
  try {
    run_training(comm, ops::Context(), options, keep);
  } catch (const Error& error) {
    end.code = static_cast<int>(error.code());
    end.message = error.what();
  }
  comm.barrier();
  end.metrics = metrics_of(options.output / "metrics.jsonl");
  comm.barrier();  // the file may be changed once all have read it
  end.message = comm.broadcast_string(end.message);
  return end;
}

RunEnd run_with_stops(const Communicator& comm, TrainOptions options, int first, int stride, int& stops) {
  constexpr int stopped = static_cast<int>(ExitCode::stopped_early);
  RunEnd end;
  int after = first;
  for (stops = 0; stops < 100; ++stops) {
    // Only the last rank is told; all have to stop with it.
    stop_at_question(comm.rank() + 1 == comm.size() ? after + 1 : -1);
    end = run_to_end(comm, options);
    stop_at_question(-1);
    if (end.code != stopped) return end;
    options.resume = Resume::yes;
    after = stride;
  }
  return end;
}

}  // namespace galapagos::test
