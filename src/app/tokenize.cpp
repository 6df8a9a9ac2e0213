#include "command.hpp"

#include <memory>

#include <galapagos/comm/agreement.hpp>
#include <galapagos/core/logging.hpp>
#include <galapagos/core/progress.hpp>
#include <galapagos/core/text.hpp>
#include <galapagos/io/chat_template.hpp>
#include <galapagos/io/tokenize.hpp>

namespace galapagos::app {

void tokenize(const Communicator& world, const std::vector<std::string>& words) {
  std::filesystem::path tokens_of, output;
  std::vector<std::filesystem::path> input;
  bool add_bos = false;
  TextOptions text;
  std::string log_level = "info";
  Options options;
  options.describe("tokenize", "writes the tokens of text files as a Megatron pair X.bin, X.idx");
  options.add("tokenizer", tokens_of, "folder with tokenizer.json or tokenizer.model, or that file",
              {.required = true});
  options.add("input", input,
              "text: .txt, .jsonl, .json, also .gz and .zst; .parquet, .arrow and folders of MDS shards",
              {.required = true});
  options.add("output", output, "X.bin; X.idx is written beside it", {.required = true});
  options.add("add-bos", add_bos, "put a BOS token in front of every document");
  bind_text(options, text);
  bind_log_level(options, log_level);
  if (!begin(world, options, words)) return;
  const Stopwatch watch;
  const std::unique_ptr<Tokenizer> tokenizer = agree_on(world, [&] {
    options.require_all();
    options.take();
    options.check();
    auto loaded = Tokenizer::load(tokens_of);
    text.chat = load_chat_template(tokens_of, text.chat_template, *loaded);
    return loaded;
  });
  const TokenizeSummary summary = tokenize_files(world, *tokenizer, input, output, add_bos, text);
  log_info("{}: {} documents, {} tokens of {} bytes, {:.1f} s on {} ranks", summary.bin.string(),
           human_count(summary.documents), human_count(summary.tokens), summary.bytes_per_token,
           watch.seconds(), world.size());
  if (summary.empty_documents > 0)
    log_info("{} empty documents left out", human_count(summary.empty_documents));
}

}  // namespace galapagos::app
