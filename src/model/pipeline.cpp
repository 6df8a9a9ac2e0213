#include <algorithm>
#include <fmt/format.h>
#include <optional>

#include <galapagos/comm/environment.hpp>
#include <galapagos/core/error.hpp>
#include <galapagos/model/pipeline.hpp>
#include <galapagos/tensor/message_buffer.hpp>

namespace galapagos {
namespace {

constexpr int hidden_tag = 11;

/// What MPI is handed for the tensors: themselves, or places beside them.
class Handed {
 public:
  Handed(const Tensor (&tensors)[streamed_batches], std::optional<Device> beside) {
    if (!beside) return;
    for (std::size_t i = 0; i < streamed_batches; ++i)
      places_[i] = MessageBuffer(tensors[i].bytes(), *beside, "hidden states on their way");
  }

  /// Of a view of tensor i, which begins where the tensor does.
  std::span<std::byte> bytes(std::size_t i, const Tensor& view) const {
    const std::span<std::byte> place = places_[i].bytes();
    return place.empty() ? std::span(view.data, view.bytes()) : place.first(view.bytes());
  }
  /// To be called when something has been received.
  void received(std::size_t i, const Tensor& view) const {
    const std::span<std::byte> place = places_[i].bytes();
    if (!place.empty()) copy_bytes(view.data, view.device, place.data(), places_[i].device(), view.bytes());
  }
  /// To be called when the view has its last values. MPI knows nothing of what is queued for a GPU: neither
  /// of these, if they are to be sent, nor of what still reads a place to which it may receive next.
  void computed(std::size_t i, const Tensor& view, bool sent) const {
    const std::span<std::byte> place = places_[i].bytes();
    if (sent && !place.empty())
      copy_bytes(place.data(), places_[i].device(), view.data, view.device, view.bytes());
    synchronise(view.device);
  }

 private:
  MessageBuffer places_[streamed_batches];
};

/// Where messages are to lie; nothing where MPI takes them from the tensors.
std::optional<Device> place_beside(HandOver hand_over, Device device) {
  const bool automatic = hand_over == HandOver::automatic;
  if (hand_over == HandOver::staged) return Device::cpu;
  if (device == Device::cpu) return std::nullopt;
  return automatic && !mpi_reads_gpu_memory() ? Device::cpu : device;
}

}  // namespace

int PipelineGrid::stage_of_layer(std::int64_t layer) const {
  for (int stage = 0; stage < stages(); ++stage) {
    if (layer < spans[static_cast<std::size_t>(stage)].last) return stage;
  }
  throw FailureError("a layer beyond the last stage", "PipelineGrid", "report this as a defect");
}

void check_lanes(int lanes, int ranks) {
  if (lanes >= 0 && lanes <= ranks) return;
  throw UsageError(fmt::format("{} lanes do not fit {} ranks", lanes, ranks), "--lanes",
                   "use at most one lane per rank");
}

PipelineGrid make_pipeline_grid(std::span<const double> layer_costs, int ranks, int lanes) {
  const int layers = static_cast<int>(layer_costs.size());
  check_lanes(lanes, ranks);
  if (lanes == 0) lanes = (ranks + layers - 1) / layers;
  PipelineGrid grid;
  grid.lanes = lanes;
  grid.spans = balanced_spans(layer_costs, std::min(ranks / lanes, layers));
  return grid;
}

void check_message(std::int64_t tokens, std::int64_t columns) {
  constexpr std::int64_t most = INT32_MAX / static_cast<std::int64_t>(sizeof(float));
  if (tokens * columns <= most) return;
  throw UsageError(fmt::format("{} tokens at a time are too many to hand from rank to rank", tokens),
                   "--batch-tokens, --sequence-length", fmt::format("use at most {}", most / columns));
}

void stream_batches(const Communicator& comm, const PipelineGrid& grid, std::span<const Batch> batches,
                    const Tensor (&buffers)[streamed_batches], FailureBoard& board,
                    const std::function<void(const Batch&, const Tensor& hidden)>& begin,
                    const std::function<void(const Batch&, const Tensor& hidden)>& work, HandOver hand_over,
                    Direction direction) {
  const int stage = grid.stage_of(comm.rank());
  const int below = stage == 0 ? -1 : comm.rank() - 1;
  const int above = stage + 1 == grid.stages() ? -1 : comm.rank() + 1;
  const int before = direction == Direction::forward ? below : above;
  const int after = direction == Direction::forward ? above : below;
  // Outlives the requests.
  const Handed handed(buffers, grid.stages() > 1 ? place_beside(hand_over, buffers[0].device) : std::nullopt);
  Request sent[streamed_batches], coming;
  const auto hidden_of = [&](std::size_t index) {
    return buffers[index % streamed_batches].view(
        {static_cast<std::int64_t>(batches[index].tokens.size()), buffers[0].columns()});
  };
  const auto expect = [&](std::size_t index) {
    if (before < 0 || index >= batches.size()) return;
    sent[index % streamed_batches].wait();
    coming = comm.receive_async(handed.bytes(index % streamed_batches, hidden_of(index)), before, hidden_tag);
  };
  // An empty message tells the next stage that no more will come. After a failure a stage still takes what
  // the stage before it sends, so that no send is left waiting.
  bool ended = false;
  const auto end_downstream = [&] {
    if (after >= 0 && !ended) comm.send_async({}, after, hidden_tag).wait();
    ended = true;
  };
  expect(0);
  for (std::size_t index = 0; index < batches.size(); ++index) {
    const Tensor hidden = hidden_of(index);
    const bool more = before >= 0 ? coming.wait() > 0 : !board.failed();
    if (!more) {
      end_downstream();
      break;
    }
    expect(index + 1);
    board.attempt([&] {
      if (before < 0) {
        sent[index % streamed_batches].wait();
        begin(batches[index], hidden);
      } else {
        handed.received(index % streamed_batches, hidden);
      }
      work(batches[index], hidden);
      handed.computed(index % streamed_batches, hidden, after >= 0);
    });
    if (board.failed()) {
      end_downstream();
    } else if (after >= 0) {
      sent[index % streamed_batches] =
          comm.send_async(handed.bytes(index % streamed_batches, hidden), after, hidden_tag);
    }
  }
}

}  // namespace galapagos
