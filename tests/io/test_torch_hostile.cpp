#include "torch_bytes.hpp"

#include <limits>
#include <random>

#include <galapagos/core/file.hpp>

using namespace galapagos;
using namespace galapagos::test;

namespace {

constexpr std::int64_t most = std::numeric_limits<std::int64_t>::max();

std::string error_of_pickle(const std::string& pickle) {
  return torch_error(torch_file_of(pickle));
}

std::string error_of_tensor(const TensorPickle& tensor) {
  return error_of_pickle(tensor.text());
}

}  // namespace

TEST_CASE("a file of torch.save made by hand is read") {
  CHECK(error_of_tensor({}).empty());
  CHECK(error_of_tensor({.offset = 6, .shape = {0, most, most}, .strides = {1, 1, 1}}).empty());
  CHECK(torch_error(torch_file_of(TensorPickle().text(), {{"x/byteorder", "little"}})).empty());
}

TEST_CASE("pickles that ask for something else than tensors") {
  CHECK(contains(error_of_pickle("\x80\x02"
                                 "cos\nsystem\n(" +
                                 pickled("touch /tmp/x") + "tR."),
                 "it asks for os.system, which is not run"));
  CHECK(contains(error_of_pickle("\x80\x02"
                                 "cbuiltins\neval\n."),
                 "builtins.eval, which is not run"));
  CHECK(contains(error_of_pickle("\x80\x02"
                                 "ctorch\nFloatStorage\n)R."),
                 "it calls torch.FloatStorage"));
  CHECK(contains(error_of_pickle("\x80\x02"
                                 "ctorch\nFloatStorage\n."),
                 "it holds torch.FloatStorage itself"));
  CHECK(contains(error_of_pickle("\x80\x02"
                                 "ccollections\nOrderedDict\n(K\1tR."),
                 "made from something"));
  CHECK(contains(error_of_pickle("\x80\x02(i"), "the pickle operation 0x69"));       // INST
  CHECK(contains(error_of_pickle("\x80\x02}}b."), "the pickle operation 0x62"));     // BUILD
  CHECK(contains(error_of_pickle("\x80\x02\x93."), "the pickle operation 0x93"));    // STACK_GLOBAL
  CHECK(contains(error_of_pickle("\x80\x02\x82\1."), "the pickle operation 0x82"));  // EXT1
  CHECK(contains(error_of_pickle("\x80\x04N."), "a pickle of protocol 4"));
}

TEST_CASE("pickles that are no programs") {
  for (const char* pickle : {"",
                             "(",
                             "N",
                             "NN.",
                             ".",
                             "t.",
                             "R.",
                             "NNR.",
                             "e.",
                             "NNe.",
                             "]Ks.",
                             "}K\1u.",
                             "}(K\1u.",
                             "h\1.",
                             "q\1.",
                             "Q.",
                             "NQ.",
                             "K",
                             "J\1\2",
                             "X\5\1",
                             "cabc",
                             "cabc\nde",
                             "\x8a",
                             "\x87.",
                             "(\x85.",
                             "(N(u.",
                             "(.",
                             "X\xff\xff\xff\xff"
                             "a",
                             "G\1\2"})
    CHECK_FALSE(error_of_pickle(std::string("\x80\x02") + pickle).empty());
  CHECK(contains(error_of_pickle("\x80\x02\x8a\x09" + std::string(9, '\1') + "."), "more than 64 bits"));
}

TEST_CASE("pickles of things in themselves, or in one another without end") {
  CHECK(contains(error_of_pickle("\x80\x02]q\1h\1a."), "too deep"));
  CHECK(contains(error_of_pickle("\x80\x02" + std::string(100000, ']') + std::string(99999, 'a') + "."),
                 "too deep"));
  // Thirty lists, each of them twice the one before.
  std::string doubling = "\x80\x02]q";
  doubling += '\0';
  for (char i = 0; i < 30; ++i)
    doubling += std::string("](h") + i + "h" + i + "eq" + static_cast<char>(i + 1);
  doubling += "\x86";  // leaves fewer than there are
  CHECK_FALSE(error_of_pickle(doubling).empty());
  std::string lone = "\x80\x02](";
  for (int i = 0; i < 300; ++i)
    lone += pickled(std::string(3000, 'x')) + "q\1" + std::string("h\1h\1h\1h\1h\1");
  CHECK(contains(error_of_pickle(lone + "e."), "too many things"));
}

TEST_CASE("tensors beyond their storage") {
  const std::string beyond = "goes beyond its storage, or repeats parts of it";
  CHECK(contains(error_of_tensor({.offset = 1}), beyond));
  CHECK(contains(error_of_tensor({.offset = -1}), beyond));
  CHECK(contains(error_of_tensor({.offset = most}), beyond));
  CHECK(contains(error_of_tensor({.shape = {3, 3}}), beyond));
  CHECK(contains(error_of_tensor({.shape = {most, most}, .strides = {0, 0}}), beyond));
  CHECK(contains(error_of_tensor({.shape = {1000000}, .strides = {0}}), beyond));
  CHECK(contains(error_of_tensor({.shape = {2, 3}, .strides = {most, most}}), beyond));
  CHECK(contains(error_of_tensor({.shape = {2, -3}}), "negative number among its shape"));
  CHECK(contains(error_of_tensor({.strides = {3, -1}}), "negative number among its strides"));
  CHECK(contains(error_of_tensor({.strides = {1}}), "other strides than dimensions"));
  CHECK(contains(error_of_tensor({.shape = std::vector<std::int64_t>(9, 1)}), "more than 8 dimensions"));
  CHECK(contains(error_of_tensor({.elements = 7, .shape = {7}, .strides = {1}}),
                 "storage 0 has 24 bytes where its type and length make 28"));
  // As many as the pickle says there are, of which the file has few.
  for (const std::int64_t many : {std::int64_t{1} << 33, std::int64_t{1} << 60, most / 4})
    CHECK(contains(error_of_tensor({.elements = many, .shape = {many}, .strides = {1}}),
                   "storage 0 has 24 bytes where its type and length make " + std::to_string(4 * many)));
  CHECK(contains(error_of_tensor({.elements = most / 4 + 1}), "a storage of impossible length"));
  CHECK(contains(error_of_tensor({.elements = -6}), "a storage of impossible length"));
  CHECK(contains(error_of_tensor({.elements = most}), "a storage of impossible length"));
  CHECK(contains(error_of_tensor({.storage = "torch._utils\n_rebuild_tensor_v2\n"}),
                 "a storage of type torch._utils._rebuild_tensor_v2"));
  CHECK(contains(error_of_tensor({.key = "1"}), "there is no such entry"));
  CHECK(contains(error_of_tensor({.key = std::string(65, '0')}), "a key of more than 64 bytes"));
}

TEST_CASE("archives that are not as torch writes them") {
  const std::string pickle = TensorPickle().text();
  CHECK(contains(torch_error(torch_file_of(pickle, {{"x/byteorder", "big"}})), "in the order 'big'"));
  CHECK(contains(torch_error(torch_file_of(pickle, {{"x/data/0", "y"}})), "two entries of this name"));
  CHECK(contains(torch_error(torch_file_of(pickle, {{"x/y", "z", 8}})), "a compressed entry"));
  CHECK(contains(torch_error(torch_file_of(pickle, {{"x/y", "z", 0, 1}})), "an encrypted entry"));
  CHECK(contains(torch_error(torch_file_of(pickle, {{"x/y", "z", 0, 0, 4000000000}})),
                 "beyond the file's end"));
  CHECK(
      contains(torch_error(zip_of({{"x/data.pkl", pickle}, {"x/data/0", std::string(24, 'a'), 0, 0, 0, 1}})),
               "the checksum does not fit"));
  CHECK(contains(torch_error(zip_of({{"x/other", "y"}})), "a zip archive without data.pkl"));
  CHECK(contains(torch_error(zip_of({{"x/y/data.pkl", pickle}})), "a zip archive without data.pkl"));
  CHECK(contains(torch_error("PK\3\4"), "only 4 bytes"));
  CHECK(contains(torch_error(""), "not a file of torch.save"));
  CHECK(contains(torch_error("\x80\x02N."), "not a file of torch.save"));
  CHECK(contains(torch_error(zip_of({{"x/data.pkl", std::string((1 << 20) + 1, 'N')}})), "more than 1 MiB"));
}

TEST_CASE("files of torch.save that are cut off or changed") {
  for (const std::string name : {"shared", "plain", "f32"}) {
    const std::string content = read_file(data_file("torch/" + name + ".pth"));
    for (std::size_t length = 0; length < content.size(); length += 13)
      CHECK_FALSE(torch_error(content.substr(0, length)).empty());
    std::mt19937_64 random(1);
    for (int i = 0; i < 500; ++i) torch_error(mutated(content, random));  // whatever is said, in one line
  }
  // Pickles, where a checksum does not keep them from being read.
  std::mt19937_64 random(2);
  for (int i = 0; i < 2000; ++i) error_of_pickle(mutated(TensorPickle().text(), random));
}
