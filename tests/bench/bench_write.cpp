// Writing a file of HDF5 through HDF5 and MPI-IO, as checkpoints are, and behind the work to the places that
// HDF5 names, as databases are, against a plain write of the same bytes to the same file system.
//   mpirun -n N bench_write FOLDER [MiB per rank = 256]
#include <algorithm>
#include <cstdlib>
#include <fcntl.h>
#include <fmt/format.h>
#include <mpi.h>
#include <vector>

#include <galapagos/comm/communicator.hpp>
#include <galapagos/core/file.hpp>
#include <galapagos/core/progress.hpp>
#include <galapagos/core/write_behind.hpp>
#include <galapagos/io/hdf5.hpp>

using namespace galapagos;

namespace {

constexpr std::uint64_t pieces = 8;  // datasets per rank, as levels of a module
constexpr int repeats = 5;

template <typename Work>
double seconds_of(const Communicator& world, Work&& work) {
  world.barrier();
  const Stopwatch watch;
  work();
  world.barrier();
  return watch.seconds();
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

}  // namespace

int main(int argc, char** argv) {
  MPI_Init(&argc, &argv);
  {
    const Communicator world = Communicator::world();
    const std::filesystem::path folder = argc > 1 ? argv[1] : ".";
    const std::uint64_t mebibytes = argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 256;
    const std::uint64_t piece = mebibytes * (1 << 20) / pieces;
    const std::vector<std::byte> data(piece, std::byte{0x5a});
    const auto rank = static_cast<std::uint64_t>(world.rank());
    const std::filesystem::path plain_path = folder / "bench_plain.bin",
                                hdf5_path = folder / "bench_write.h5";
    std::vector<double> plain, hdf5, behind;
    const auto create = [&] {
      if (!world.is_root()) return;
      Hdf5File file = Hdf5File::create(hdf5_path);
      for (std::uint64_t i = 0; i < pieces * static_cast<std::uint64_t>(world.size()); ++i) {
        file.create_dataset("/piece_" + std::to_string(i), Hdf5Type::f32, {piece / 4096, 1024});
      }
      file.close();
    };
    for (int repeat = 0; repeat < repeats; ++repeat) {
      plain.push_back(seconds_of(world, [&] {
        FileDescriptor file(plain_path, O_WRONLY | O_CREAT);
        for (std::uint64_t i = 0; i < pieces; ++i) file.write_at(data, (rank * pieces + i) * piece);
        file.sync();
      }));
      create();
      hdf5.push_back(seconds_of(world, [&] {
        Hdf5File file = Hdf5File::open_parallel(hdf5_path, world);
        FileDescriptor descriptor(hdf5_path, O_RDWR);
        for (std::uint64_t i = 0; i < pieces; ++i) {
          file.write("/piece_" + std::to_string(rank * pieces + i), Hdf5Type::f32, data);
        }
        descriptor.sync();
        file.close();
      }));
      create();
      behind.push_back(seconds_of(world, [&] {
        Hdf5File file = Hdf5File::open_parallel(hdf5_path, world);
        WriteBehind writer(FileDescriptor(hdf5_path, O_RDWR), piece);
        for (std::uint64_t i = 0; i < pieces; ++i) {
          const std::string name = "/piece_" + std::to_string(rank * pieces + i);
          writer.write(data, file.place_of(name, Hdf5Type::f32, data.size()));
        }
        writer.drain();
        FileDescriptor(hdf5_path, O_RDWR).sync();
        file.close();
      }));
      if (world.is_root()) {
        std::filesystem::remove(plain_path);
        std::filesystem::remove(hdf5_path);
      }
    }
    if (world.is_root()) {
      const double total = static_cast<double>(mebibytes) * world.size();
      fmt::print("{} ranks, {} MiB each, fsync included, median of {}\n", world.size(), mebibytes, repeats);
      fmt::print("plain write      {:8.0f} MB/s\n", total * 1.048576 / median(plain));
      fmt::print("parallel HDF5    {:8.0f} MB/s\n", total * 1.048576 / median(hdf5));
      fmt::print("behind the work  {:8.0f} MB/s\n", total * 1.048576 / median(behind));
      fmt::print("ratios           {:8.2f} {:8.2f}\n", median(plain) / median(hdf5),
                 median(plain) / median(behind));
    }
  }
  MPI_Finalize();
}
