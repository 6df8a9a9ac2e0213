#include <galapagos/core/options.hpp>
#include <galapagos/io/text_options.hpp>

namespace galapagos {

void bind_text(Options& list, TextOptions& options, bool in_identity) {
  const OptionRules rules = {.decides = in_identity, .indirectly = true};
  list.add("text-key", options.text_key,
           "key of a record's text in .jsonl and .json, as content, or data.body within another; without it "
           "text, or prompt and response, or messages",
           rules);
  OptionRules count = rules;
  count.least = 0;
  list.add("skip-bad-lines", options.skip_bad_lines,
           "go on past as many records of a file without a usable text, counted, the first one named", count);
  list.add("allow-invalid-utf8", options.allow_invalid_utf8,
           "take a file of which more than 3 in 1000 characters have to be replaced, as they are not UTF-8",
           rules);
  list.add(
      "chat-template", options.chat_template,
      "layout of records with messages: a template of the model's by its name, a file with one, or none for "
      "contents as they are; without it the model's own",
      rules);
}

}  // namespace galapagos
