#include "small_space.hpp"
#include "support/catch.hpp"
#include "support/files.hpp"

#include <galapagos/core/file.hpp>

using namespace galapagos;
using test::contains;

namespace {

const std::string good =
    "model.layers.0.mlp.down_proj: 3\n"
    "model.layers.1.mlp.down_proj: 0\n"
    "model.layers.0.self_attn.o_proj: 12\n"
    "model.layers.1.self_attn.o_proj: 1\n";

// Layers of other numbers of levels: 12 and 1 of attention, 4 of each ffn.
SearchSpace some_space() {
  return test::make_space({test::equal_sizes(12, 1), test::equal_sizes(1, 1)},
                          {test::equal_sizes(4, 1), test::equal_sizes(4, 1)});
}

std::string replaced(std::string text, const std::string& from, const std::string& to) {
  return text.replace(text.find(from), from.size(), to);
}

}  // namespace

TEST_CASE("an assignment is written and read back", "[space]") {
  const test::TemporaryFolder folder;
  const SearchSpace space = some_space();
  const Assignment assignment = {12, 3, 1, 0};
  CHECK(to_text(space, assignment) == good);
  const auto read = [&](const std::string& text) {
    test::write_text(folder / "a.txt", text);
    return read_assignment(space, folder / "a.txt");
  };
  CHECK(read(good) == assignment);
  // As other systems and people write it.
  std::string carriage = good;
  for (std::size_t at = 0; (at = carriage.find('\n', at)) != std::string::npos; at += 2)
    carriage.insert(at, "\r");
  CHECK(read(carriage) == assignment);
  CHECK(read(good.substr(0, good.size() - 1)) == assignment);
  CHECK(read("# the best of all: 5\n\n" + good + "\n   \n\r\n") == assignment);
  CHECK(read(replaced(replaced(good, ": 3\n", ":3\n"), ": 12\n", ":   12  \n")) == assignment);
  CHECK(read("model.layers.1.self_attn.o_proj: 1\n" +
             replaced(good, "model.layers.1.self_attn.o_proj: 1\n", "")) == assignment);
  for (std::int16_t level = 0; level <= 12; ++level) {
    CHECK(read(to_text(space, {level, 4, 0, 2})) == Assignment{level, 4, 0, 2});
  }
}

TEST_CASE("a wrong assignment is refused with its line or module", "[space]") {
  const test::TemporaryFolder folder;
  const SearchSpace space = some_space();
  const auto refusal = [&](const std::string& text) {
    test::write_text(folder / "a.txt", text);
    const std::string message =
        test::message_of<InputError>([&] { read_assignment(space, folder / "a.txt"); });
    CHECK(contains(message, "a.txt"));
    return message;
  };
  const auto changed = [&](const std::string& from, const std::string& to) {
    return refusal(replaced(good, from, to));
  };
  CHECK(contains(refusal(good + "model.layers.2.mlp.down_proj: 1\n"),
                 "line 5: unknown module 'model.layers.2.mlp.down_proj'"));
  CHECK(contains(changed("model.layers.1.mlp", "model.layers.01.mlp"), "line 2: unknown module"));
  CHECK(contains(changed("model.layers.0.mlp", " model.layers.0.mlp"), "line 1: unknown module"));
  CHECK(contains(changed("down_proj: 0", "down_proj : 0"), "line 2: unknown module"));
  CHECK(contains(changed("0.self_attn.o_proj", "0.self_attn.q_proj"), "line 3: unknown module"));
  CHECK(
      contains(changed("model.layers.1.mlp.down_proj: 0\n", ""), "no line for model.layers.1.mlp.down_proj"));
  CHECK(contains(refusal(""), "no line for model.layers.0.self_attn.o_proj"));
  CHECK(contains(refusal(good + "\n# again\nmodel.layers.0.mlp.down_proj: 3\n"),
                 "line 7: model.layers.0.mlp.down_proj stands there twice"));
  CHECK(contains(changed("o_proj: 12", "o_proj: 13"),
                 "line 3: level 13 of model.layers.0.self_attn.o_proj, which has levels 0 to 12"));
  CHECK(contains(changed("o_proj: 1\n", "o_proj: 2\n"), "line 4: level 2"));
  CHECK(contains(changed("down_proj: 0", "down_proj: -1"), "line 2: level -1"));
  for (const char* level : {"", " ", "x", "1.0", "1e0", "+1", "1 2", "0x1", "99999", "-99999", "1,"}) {
    INFO("'" << level << "'");
    CHECK(contains(changed("down_proj: 3", std::string("down_proj: ") + level), "line 1: no level in"));
  }
  CHECK(contains(changed("down_proj: 3", "down_proj"), "line 1: no colon"));
  CHECK(contains(changed("model.layers.0.mlp.down_proj: 3", ": 3"), "line 1: unknown module ''"));
  CHECK(contains(refusal("\x01\x02\xff binary\n" + good), "line 1: no colon in '\\x01\\x02\\xff binary'"));
  CHECK(contains(refusal(std::string(5, '\0')), "line 1: no colon"));
  CHECK(refusal(std::string(100000, 'x')).size() < 1000);
  CHECK(contains(refusal(std::string(17 << 20, 'x')), "a.txt"));  // far too large to be one
  CHECK(contains(test::message_of<InputError>([&] { read_assignment(space, folder / "none.txt"); }),
                 "none.txt"));
  CHECK(contains(test::message_of<InputError>([&] { read_assignment(space, folder.path()); }),
                 folder.path().string()));
}

TEST_CASE("parameters of an assignment", "[space]") {
  const SearchSpace space = test::make_space({{100, 40, 0}, {70, 0}}, {{900, 300}}, 5000);
  CHECK(space.dense_parameters() == 1070);
  CHECK(space.smallest_parameters() == 300);
  CHECK(space.parameters({0, 0, 0}) == 6070);
  CHECK(space.parameters({2, 1, 1}) == 5300);
  CHECK(space.parameters({1, 0, 1}) == 5940);
}
