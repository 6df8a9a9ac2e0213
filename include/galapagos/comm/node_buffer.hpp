#pragma once

#include <cstddef>
#include <mpi.h>
#include <span>
#include <string>
#include <utility>

#include <galapagos/comm/communicator.hpp>

namespace galapagos {

/// Memory that the ranks of a node share: one copy, which each of them reads and writes in place. Making and
/// destroying one is collective over the node.
class NodeBuffer {
 public:
  NodeBuffer() = default;
  /// `node` as from split_node(). ResourceError where MPI cannot provide it.
  NodeBuffer(const Communicator& node, std::size_t bytes);
  NodeBuffer(NodeBuffer&& other) noexcept
      : window_(std::exchange(other.window_, MPI_WIN_NULL)), bytes_(std::exchange(other.bytes_, {})) {}
  NodeBuffer& operator=(NodeBuffer&& other) noexcept {
    std::swap(window_, other.window_);
    std::swap(bytes_, other.bytes_);
    return *this;
  }
  ~NodeBuffer();

  std::span<std::byte> bytes() const { return bytes_; }

  /// Collective over the node: what any rank has written before is seen by all after.
  void synchronise(const Communicator& node) const;

 private:
  MPI_Win window_ = MPI_WIN_NULL;
  std::span<std::byte> bytes_;
};

}  // namespace galapagos
