#include "bad/bad_input.hpp"

namespace galapagos::storm {
namespace {

using Words = std::vector<std::string>;

std::vector<BadInput> bad_levels() {
  std::vector<BadInput> all;
  const auto add = [&](const std::string& what,
                       const std::function<void(const std::filesystem::path&)>& spoil) {
    all.push_back({"a.txt: " + what,
                   "a.txt",
                   spoil,
                   {"stitch", "--model", "@/model", "--database", "@/x.h5", "--assignment", "@/a.txt",
                    "--output", "@/out"}});
  };
  const char* line = "model.layers.1.mlp.down_proj: ";
  const auto level = [&](const std::string& value) {
    add("level '" + value + "'", edit([=](std::string text) {
          const std::size_t at = text.find(line) + std::string(line).size();
          return text.replace(at, text.find('\n', at) - at, value);
        }));
  };
  for (const char* value : {"-1", "7", "99", "two", "", "1.5", "99999999999999999999", "1 2", "0x1", "1e0"})
    level(value);
  add("a module missing", edit([=](std::string text) {
        const std::size_t at = text.find(line);
        return text.erase(at, text.find('\n', at) + 1 - at);
      }));
  add("a module twice", edit([=](const std::string& text) { return text + line + "1\n"; }));
  add("a layer too many",
      edit([](const std::string& text) { return text + "model.layers.4.mlp.down_proj: 1\n"; }));
  add("an unknown module", swap_text("layers.1.mlp.down_proj", "layers.1.mlp.up_proj"));
  add("no colon", swap_text("layers.1.mlp.down_proj:", "layers.1.mlp.down_proj"));
  add("empty", put(""));
  add("zeros", put(std::string(100, '\0')));
  add("JSON", put("{\"model.layers.0.mlp.down_proj\": 1}\n"));
  add("cut", cut(0.5));
  return all;
}

std::vector<BadInput> bad_options() {
  std::vector<BadInput> all;
  const auto add = [&](const std::string& what, const std::string& text) {
    all.push_back(
        {"o.ini: " + what,
         "o.ini",
         put(text),
         {"sensitivity", "--config", "@/o.ini", "--model", "@/model", "--calibration", "@/text.jsonl",
          "--calibration-tokens", "300", "--threads", "1", "--output", "@/out.h5"}});
  };
  for (const char* line : {"colour = red",
                           "[sensitivity]\ncolour = red",
                           "sequence-length",
                           "sequence-length =",
                           "sequence-length = many",
                           "sequence-length = -5",
                           "sequence-length = 0",
                           "sequence-length = 1.5",
                           "sequence-length = 99999999999999999999",
                           "sequence-length = 64\nsequence-length = 128",
                           "[sensitivity\nseed = 1",
                           "= 5",
                           "precision = int4",
                           "memory-limit = lots",
                           "log-level = loud",
                           "backend = abacus",
                           "[sensitivity]\nform = round",
                           "[sensitivity]\nrank = -1",
                           "[sensitivity]\nsamples = 0",
                           "seed = -1",
                           "max-walltime = soon",
                           "sensitivity.form = full",
                           "fresh = true",
                           "batch-tokens = 0",
                           "add-bos = perhaps",
                           "[nowhere]\nx = 1"})
    add("'" + std::string(line) + "'", std::string(line) + "\n");
  add("zeros", std::string(100, '\0'));
  add("no text",
      "\x7f"
      "ELF\x01\x02\n");
  return all;
}

std::vector<BadInput> bad_tables() {
  std::vector<BadInput> all;
  const auto add = [&](const std::string& what,
                       const std::function<void(const std::filesystem::path&)>& spoil) {
    all.push_back({"t.csv: " + what,
                   "t.csv",
                   spoil,
                   {"assign", "--model", "@/model", "--database", "@/x.h5", "--target-speedup", "1.2",
                    "--latency-table", "@/t.csv", "--output", "@/out.txt"}});
  };
  add("no column of seconds", swap_text("seconds", "minutes"));
  add("a column twice", swap_text("length", "batch"));
  add("an unknown kind", swap_text("\nattn,1,", "\nattention,1,"));
  add("an unknown phase", swap_text("prefill", "refill"));
  add("negative seconds", swap_text(",prefill,3", ",prefill,-3"));
  add("a word for seconds", swap_text("prefill,3", "prefill,x3"));
  add("NaN seconds", swap_text("prefill,3", "prefill,nan"));
  add("another model's head_dim", swap_text(",64,16,", ",64,32,"));
  add("another model's size", swap_text(",64,16,", ",65,16,"));
  add("a field too many", swap_text(",1,16\n", ",1,16,9\n"));
  add("an open quote", swap_text("cpu", "\"cpu"));
  add("empty", put(""));
  add("only the first line", cut(0.04));
  add("half of it", cut(0.5));
  add("zeros", put(std::string(100, '\0')));
  return all;
}

}  // namespace

std::vector<BadInput> bad_assignments() {
  std::vector<BadInput> all = bad_levels();
  for (auto* more : {&bad_options, &bad_tables})
    for (BadInput& one : more()) all.push_back(std::move(one));
  return all;
}

}  // namespace galapagos::storm
