#include "support/catch.hpp"
#include "support/files.hpp"

#include <galapagos/io/token_source.hpp>

using namespace galapagos;

// Runs on every rank: CHECK only, so that no rank leaves the others alone in a collective.

TEST_CASE("a folder of MDS shards is read alike by any number of ranks", "[source]") {
  const auto world = Communicator::world(), alone = Communicator::self();
  const auto tokenizer = Tokenizer::load(test::data_file("models/llama3_tiny"));
  const std::filesystem::path tokens = test::data_file("mds/tokens"), texts = test::data_file("mds/text");
  const TokenSet all = load_sequences(world, {tokens}, nullptr, {1000, 0, {}}, 768);
  CHECK(all.sequences() == 6);
  CHECK(all.tokens.size() == 360);
  const SequenceOptions options = {100, 330, 5};
  const TokenSet together = load_sequences(world, {texts, tokens, texts}, tokenizer.get(), options, 768);
  CHECK(together.tokens.size() == 330);
  CHECK(together.tokens.front() == 5);
  CHECK(together.fingerprint() ==
        load_sequences(alone, {texts, tokens, texts}, tokenizer.get(), options, 768).fingerprint());
  bool refused = false;
  try {
    load_sequences(world, {tokens}, nullptr, {1000, 0, {}}, 700);
  } catch (const std::exception&) {
    refused = true;
  }
  CHECK(refused);
}
