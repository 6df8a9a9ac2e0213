#include "support/catch.hpp"
#include "support/files.hpp"

#include <fstream>

#include <galapagos/comm/agreement.hpp>
#include <galapagos/core/error.hpp>
#include <galapagos/core/file.hpp>
#include <galapagos/io/text_reader.hpp>
#include <galapagos/io/token_file.hpp>
#include <galapagos/io/tokenize.hpp>

using namespace galapagos;
namespace fs = std::filesystem;

namespace {

const fs::path sample = test::data_file("text/sample.jsonl");

/// One folder for all ranks.
class SharedFolder {
 public:
  explicit SharedFolder(const Communicator& world)
      : world_(world), path_(world.broadcast_string(own_.path().string())) {}
  ~SharedFolder() { world_.barrier(); }
  SharedFolder(const SharedFolder&) = delete;
  SharedFolder& operator=(const SharedFolder&) = delete;
  fs::path operator/(const std::string& name) const { return path_ / name; }

 private:
  test::TemporaryFolder own_;
  const Communicator& world_;
  fs::path path_;
};

bool fails(const std::function<void()>& work) {
  try {
    work();
  } catch (const Error& error) {
    return error.code() == ExitCode::bad_input;
  }
  return false;
}

}  // namespace

TEST_CASE("token files are the same bytes whatever the number of ranks", "[tokenize]") {
  const auto world = Communicator::world();
  const SharedFolder shared(world);
  const test::TemporaryFolder own;
  std::string text = read_file(sample);
  std::ofstream many(own / "many.jsonl");  // several blocks of documents, some empty
  for (int i = 0; i < 60; ++i) many << text << "{\"text\": \"\"}\n";
  many.close();
  const auto tokenizer = Tokenizer::load(test::data_file("models/llama3_tiny"));
  const std::vector<fs::path> inputs = {own / "many.jsonl", sample};
  const auto together = tokenize_files(world, *tokenizer, inputs, shared / "out.bin", true);
  const auto alone = tokenize_files(Communicator::self(), *tokenizer, inputs, own / "out", true);
  CHECK(read_file(together.bin) == read_file(alone.bin));
  CHECK(read_file(together.idx) == read_file(alone.idx));
  CHECK(together.documents == 61 * 300);
  CHECK(together.empty_documents == 60);
  CHECK(together.bytes_per_token == 2);
  CHECK_FALSE(fs::exists(shared / "out.bin.part"));
  CHECK_FALSE(fs::exists(shared / "out.idx.part"));

  const TokenFile file = TokenFile::open(together.idx);
  CHECK(file.documents() == together.documents);
  CHECK(file.tokens() == together.tokens);
  DocumentReader reader(sample);
  std::vector<std::int32_t> ids;
  std::size_t at = 60 * 300;
  std::size_t same = 0;
  for (std::vector<TextPart> document; reader.next(document); ++at) {
    auto wanted = tokenizer->encode(document.front().text);
    wanted.insert(wanted.begin(), tokenizer->bos_id().value());
    file.read(at, ids);
    same += ids == wanted ? 1 : 0;
  }
  CHECK(same == 300);
}

TEST_CASE("nothing is overwritten, and nothing left behind by a failure", "[tokenize]") {
  const auto world = Communicator::world();
  const SharedFolder folder(world);
  const auto tokenizer = Tokenizer::load(test::data_file("models/qwen2_tiny"));
  const auto run = [&](const fs::path& input, const std::string& output, bool bos) {
    return [&, input, output, bos] { tokenize_files(world, *tokenizer, {input}, folder / output, bos); };
  };
  if (world.is_root()) {
    test::write_text(folder / "taken.bin", "precious");
    test::write_text(folder / "bad.jsonl", "{\"text\": \"a\"}\n{");
    test::write_text(folder / "empty.jsonl", "{\"text\": \"\"}\n");
  }
  world.barrier();
  CHECK(fails(run(sample, "taken", false)));
  CHECK(fails(run(sample, "new", true)));  // no BOS
  CHECK(fails(run(folder / "bad.jsonl", "new", false)));
  CHECK(fails(run(folder / "empty.jsonl", "new", false)));
  CHECK(fails(run(folder / "none.jsonl", "new", false)));
  world.barrier();
  CHECK(read_file(folder / "taken.bin") == "precious");
  for (const char* name : {"new.bin", "new.idx", "new.bin.part", "new.idx.part", "taken.idx"}) {
    CHECK_FALSE(fs::exists(folder / name));
  }
}
