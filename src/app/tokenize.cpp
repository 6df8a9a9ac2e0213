#include "command.hpp"

#include <memory>

#include <galapagos/comm/agreement.hpp>
#include <galapagos/core/logging.hpp>
#include <galapagos/core/progress.hpp>
#include <galapagos/core/text.hpp>
#include <galapagos/io/tokenize.hpp>

namespace galapagos::app {
namespace po = boost::program_options;

void tokenize(const Communicator& world, const std::vector<std::string>& words) {
  Options options("tokenize", "writes the tokens of text files as a Megatron pair X.bin, X.idx");
  options.declared().add_options()("tokenizer", po::value<std::string>(),
                                   "folder with tokenizer.json or tokenizer.model, or that file")(
      "input", po::value<std::vector<std::string>>()->multitoken()->composing(),
      "text: .txt, .jsonl, also .gz and .zst")("output", po::value<std::string>(),
                                               "X.bin; X.idx is written beside it")(
      "add-bos", po::bool_switch(), "put a BOS token in front of every document");
  declare_common(options, false);
  if (!begin(world, options, words)) return;
  const Stopwatch watch;
  const std::unique_ptr<Tokenizer> tokenizer = agree_on(world, [&] {
    for (const char* name : {"tokenizer", "input", "output"}) options.require(name);
    return Tokenizer::load(options.get<std::string>("tokenizer"));
  });
  const TokenizeSummary summary =
      tokenize_files(world, *tokenizer, paths_of(options.get<std::vector<std::string>>("input")),
                     options.get<std::string>("output"), options.flag("add-bos"));
  log_info("{}: {} documents, {} tokens of {} bytes, {:.1f} s on {} ranks", summary.bin.string(),
           human_count(summary.documents), human_count(summary.tokens), summary.bytes_per_token,
           watch.seconds(), world.size());
  if (summary.empty_documents > 0)
    log_info("{} empty documents left out", human_count(summary.empty_documents));
}

}  // namespace galapagos::app
