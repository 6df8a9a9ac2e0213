#include "torch_bytes.hpp"

#include <cstdint>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include <galapagos/core/file.hpp>

// Records of 64 bits (PKWARE's APPNOTE, 4.3 to 4.5), as torch.save writes them, that say what is not so.

using namespace galapagos;
using namespace galapagos::test;

namespace {

constexpr std::uint64_t most = std::numeric_limits<std::uint64_t>::max();

const std::string local = "PK\3\4", central = "PK\1\2", wide_end = "PK\6\6", locator = "PK\6\7";

/// A file of six numbers: archive/data.pkl, byteorder, data/0 and version, in this order.
std::string good_file() {
  const TemporaryFolder folder;
  const std::vector<std::byte> numbers(24, std::byte{0x3f});
  write_torch_file(folder / "x.pth", {TorchTensor{"F32", {2, 3}, {3, 1}, numbers}});
  return read_file(folder / "x.pth");
}

/// Where the nth record of a kind begins.
std::size_t place_of(const std::string& file, const std::string& signature, std::size_t nth) {
  std::size_t at = file.find(signature);
  for (; nth > 0; --nth) at = file.find(signature, at + 1);
  REQUIRE(at != std::string::npos);
  return at;
}

template <typename T = std::uint64_t>
T number_in(const std::string& file, std::size_t at) {
  T value;
  REQUIRE(at + sizeof value <= file.size());
  std::memcpy(&value, file.data() + at, sizeof value);
  return value;
}

/// Bytes put over those of a record.
struct Damage {
  const char* what;
  const std::string& record;
  std::size_t nth, at;
  std::string bytes;
  const char* error;
};

}  // namespace

TEST_CASE("records of 64 bits that say what is not so") {
  const std::string good = good_file();
  REQUIRE(torch_error(good).empty());
  const std::size_t end = place_of(good, wide_end, 0);
  const auto begin = number_in(good, end + 48), bytes = number_in(good, end + 40);
  REQUIRE(begin + bytes == end);
  REQUIRE(number_in(good, end + 32) == 4);
  // Where the extra field of the tensor's central record, the third, has its two sizes and its place.
  const std::size_t extra = 46 + std::string("archive/data/0").size(), sizes = extra + 4, place = sizes + 16;
  const std::size_t tensor = place_of(good, central, 2);
  REQUIRE(number_in(good, tensor + sizes) == 24);
  const auto at = number_in(good, tensor + place), order_at = place_of(good, local, 1);
  REQUIRE(at == place_of(good, local, 2));
  const std::size_t order_sizes = 46 + std::string("archive/byteorder").size() + 4;
  const auto both = [](std::uint64_t size) { return little(size) + little(size); };
  const auto two = [](std::uint16_t number) { return little(number); };

  const char *cut = "its directory is cut off", *other_length = "another length than it says",
             *beyond = "its directory lies beyond its end", *no_end = "its end of 64 bits is missing",
             *past = "it goes beyond the file's end", *no_entry = "no entry where the directory says",
             *other_name = "another name than the directory's", *cut_extra = "an extra field that is cut off",
             *short_extra = "an extra field that is too short";
  const std::vector<Damage> damages = {
      {"an entry more", wide_end, 0, 32, little<std::uint64_t>(5), cut},
      {"entries without end", wide_end, 0, 32, little(most), cut},
      {"an entry less", wide_end, 0, 32, little<std::uint64_t>(3), other_length},
      {"no entries", wide_end, 0, 32, little<std::uint64_t>(0), other_length},
      {"a longer directory", wide_end, 0, 40, little(bytes + 1), other_length},
      {"a shorter directory", wide_end, 0, 40, little(bytes - 1), cut},
      {"a directory as long as the file", wide_end, 0, 40, little<std::uint64_t>(good.size()), beyond},
      {"a directory without end", wide_end, 0, 40, little(most), beyond},
      {"a directory that ends at 0", wide_end, 0, 40, little(0 - begin), beyond},
      {"a directory that begins too early", wide_end, 0, 48, little<std::uint64_t>(0), cut},
      {"a directory behind the file", wide_end, 0, 48, little<std::uint64_t>(good.size() + 1), beyond},
      {"a directory that begins at the end of numbers", wide_end, 0, 48, little(most), beyond},
      {"a directory that begins before 0", wide_end, 0, 48, little(0 - bytes), beyond},
      {"an end behind the file", locator, 0, 8, little<std::uint64_t>(good.size()), no_end},
      {"an end at the end of numbers", locator, 0, 8, little(most), no_end},
      {"an end that ends at 0", locator, 0, 8, little(most - 55), no_end},
      {"an end elsewhere", locator, 0, 8, little<std::uint64_t>(0), no_end},

      {"data behind the directory", central, 2, sizes, both(begin - at), past},
      {"data without end", central, 2, sizes, both(most), past},
      {"data whose end wraps", central, 2, sizes, both(0 - at), past},
      {"data of less than nothing", central, 2, sizes, both(most / 2 + 1), past},
      {"sizes that differ", central, 2, sizes, little<std::uint64_t>(23), "stored, but of two sizes"},
      {"an entry behind the file", central, 2, place, little<std::uint64_t>(good.size()), no_entry},
      {"an entry too near the directory", central, 2, place, little(begin - 29), no_entry},
      {"an entry at the end of numbers", central, 2, place, little(most), no_entry},
      {"an entry that ends at 0", central, 2, place, little(most - 29), no_entry},
      {"an entry within another", central, 2, place, little(at + 1), no_entry},
      {"another's entry", central, 2, place, little<std::uint64_t>(order_at), other_name},
      {"data over the next entry", central, 1, order_sizes, both(at - order_at), "entries that overlap"},
      {"an extra field without the place", central, 2, extra + 2, two(16), short_extra},
      {"an extra field with half a place", central, 2, extra + 2, two(20), short_extra},
      {"an extra field without anything", central, 2, extra + 2, two(0), short_extra},
      {"an extra field that is longer than all", central, 2, extra + 2, two(25), cut_extra},
      {"an extra field without end", central, 2, extra + 2, two(0xffff), cut_extra},
      {"an extra field of another kind", central, 2, extra, two(2), no_entry},
      {"extra fields that are cut short", central, 2, 30, two(20), cut_extra},
      {"no extra fields", central, 2, 30, two(0), no_entry},
      {"extra fields behind the directory", central, 3, 30, two(0xffff), cut},
      {"a name behind the directory", central, 3, 28, two(0xffff), cut},
      {"a comment behind the directory", central, 3, 32, two(0xffff), cut},
      {"another checksum", central, 2, 16, little<std::uint32_t>(1), "the checksum does not fit"},

      {"an entry of another name", local, 2, 30, "z", other_name},
      {"an entry of a shorter name", local, 2, 26, two(13), other_name},
      {"an entry without a name", local, 2, 26, two(0), other_name},
      {"an entry with a name beyond the file", local, 2, 26, two(0xffff), past},
      {"an entry with extra fields beyond the file", local, 2, 28, two(0xffff), past},
      {"no entry", local, 2, 0, "PK\1\2", no_entry},
  };
  for (const Damage& damage : damages) {
    INFO(damage.what);
    std::string file = good;
    file.replace(place_of(good, damage.record, damage.nth) + damage.at, damage.bytes.size(), damage.bytes);
    const std::string error = torch_error(file);
    INFO(error);
    CHECK(contains(error, damage.error));
  }
}

TEST_CASE("what an entry says again is taken from the directory") {
  std::string file = good_file();
  const std::size_t at = place_of(file, local, 2), extra = at + 30 + std::string("archive/data/0").size();
  file.replace(at + 14, 4, 4, '\1');        // its checksum
  file.replace(extra + 4, 16, 16, '\xff');  // its sizes
  CHECK(torch_error(file).empty());
}

TEST_CASE("a directory of 64 bits with any byte changed") {
  const std::string good = good_file();
  for (std::size_t at = number_in(good, place_of(good, wide_end, 0) + 48); at < good.size(); ++at) {
    for (const char changed : {'\0', '\1', '\x7f', '\x80', '\xff'}) {
      std::string file = good;
      file[at] = changed;
      torch_error(file);  // whatever is said, in one line
    }
  }
}
