#include "io/chat_folder.hpp"

using namespace galapagos;
using test::ChatFolder;
using test::contains;

namespace {

const Json messages = {{{"role", "user"}, {"content", "Hi there"}},
                       {{"role", "assistant"}, {"content", "Hello you"}}};

std::string rendered(const std::string& source) {
  const ChatFolder folder(Json::object(), source);
  return folder.text({{"messages", messages}}, folder.options((folder.folder / "t.jinja").string()));
}

std::string error(const std::string& source) {
  return test::input_error([&] { rendered(source); });
}

std::string repeated(const std::string& text, int times) {
  std::string out;
  for (int i = 0; i < times; ++i) out += text;
  return out;
}

std::string print(const std::string& expression) {
  return "{{ " + expression + " }}";
}

/// Very deep in brackets.
std::string within(const std::string& open, const std::string& close) {
  return repeated(open, 50'000) + "1" + repeated(close, 50'000);
}

}  // namespace

TEST_CASE("a template can neither exhaust the stack nor hang nor fill the memory", "[chat]") {
  // In the text of the template.
  for (const std::string& source :
       {print(repeated("1 if ", 50'000) + "1"), print(repeated("1 if 0 else ", 50'000) + "1"),
        print("x" + repeated("|upper", 50'000)), print("1" + repeated("(1)", 50'000)),
        print(within("[", "]")), print(within("{'a':", "}")), print(within("x[", "]")),
        print("1" + repeated(" ** 1", 50'000)), print(repeated("-", 50'000) + "1"),
        print("1 is eq " + within("(", ")")), repeated("{% set x %}", 50'000),
        print("x" + repeated(".y", 50'000)), print(within("x|default(", ")"))}) {
    CAPTURE(source.substr(0, 30));
    const std::string said = error(source);
    CHECK((contains(said, "nested too deeply") || contains(said, "an expression too long")));
  }
  // In macros that call themselves.
  const auto macro = [](const std::string& body) {
    return "{% macro f(n) %}{% if n < 5000 %}" + body + "{% endif %}{% endmacro %}{{ f(0) }}";
  };
  CHECK(contains(error(macro(print("f(n + 1)" + repeated("|upper", 300)))), "too deeply (line 1)"));
  CHECK(contains(error(macro(print("f(n + 1)"))), "too deeply"));
  CHECK(contains(error(macro(repeated("{% if 1 %}", 80) + print("f(n + 1)") + repeated("{% endif %}", 80))),
                 "too deeply"));
  CHECK(contains(error("{% macro f(n) %}{% if n < 60 %}{{ f(n + 1) }}{{ f(n + 1) }}{% endif %}{% endmacro %}"
                       "\n{{ f(0) }}"),
                 "goes on for too long, or makes too much (line 1)"));
  // In values.
  const auto loop = [](const std::string& first, const std::string& next) {
    return "{% set ns = namespace(x=" + first + ") %}{% for i in range(9000) %}{% set ns.x = " + next +
           " %}{% endfor %}{{ ns.x | tojson }}";
  };
  CHECK(contains(error(loop("[]", "[ns.x]")), "nests values too deeply"));
  CHECK(contains(error(loop("{}", "{'a': ns.x}")), "nests values too deeply"));
  CHECK(contains(error(loop("1", "namespace(x=ns)")), "keeps a namespace"));
  CHECK(contains(error("{% set ns = namespace() %}{% set ns.x = ns %}"), "keeps a namespace"));
  CHECK(contains(error(loop("[1]", "[ns.x].count")), "keeps a function"));
  for (const std::string& source :
       {loop("'aa'", "ns.x|replace('a', ns.x)"),
        std::string("{% set x = 'a' * 900000 %}{{ (x ~ 'b') in x * 3 }}"),
        std::string("{% set ns = namespace(x=[1, 1]) %}{% for i in range(60) %}{% set ns.x = [ns.x, ns.x] %}"
                    "{% endfor %}{{ ns.x | tojson }}")}) {
    CAPTURE(source.substr(0, 90));
    CHECK(contains(error(source), "goes on for too long, or makes too much"));
  }
  CHECK(contains(error(print("1e999")), "too large"));
}

TEST_CASE("what ordinary templates compute is far from their limits", "[chat]") {
  CHECK(rendered("{% for i in range(90000) %}{{ messages[i % 2].content[:1] if i < 4 }}{% endfor %}") ==
        "HHHH");
  CHECK(rendered("{% macro f(n) %}{{ f(n - 1) if n > 0 else 'x' }}{% endmacro %}{{ f(50) }}") == "x");
  CHECK(rendered(print("'a'" + repeated(" + 'a'", 400))) == repeated("a", 401));
  const std::string text(5'000'000, 'a');
  const ChatFolder folder(Json::object(),
                          "{% for m in messages %}{{ '<' + m.content | trim + '>' }}{% endfor %}");
  CHECK(folder
            .text({{"messages", {{{"role", "user"}, {"content", text}}}}},
                  folder.options((folder.folder / "t.jinja").string()))
            .size() == text.size() + 2);
}

TEST_CASE("what Python makes as it is asked for is used up by the first that asks", "[chat]") {
  const std::string made = "{% set x = messages | map(attribute='role') %}";
  CHECK(rendered(made + "{{ x | join(',') }}") == "user,assistant");
  CHECK(rendered(made + "{% if x %}{% for y in x %}{{ y }}{% endfor %}{% endif %}") == "userassistant");
  CHECK(contains(error(made + "{{ x | join(',') }}{{ x | list | length }}"), "a second time"));
  CHECK(contains(error(made + "{% set y = x %}{{ 'a' in y }}\n{% for z in x %}{% endfor %}"), "(line 2)"));
  CHECK(contains(error(made + "{{ x | first }}{{ x | first }}"), "a second time"));
  CHECK(contains(error(made + "{{ x | last }}"), "the last one"));
  CHECK(contains(error(made + "{{ x | tojson }}"), "as JSON"));
  CHECK(rendered(made + "{{ x == ['user', 'assistant'] }}{{ x == x }}") == "FalseTrue");
  CHECK(rendered(made + "{% set y = x | list %}{{ y | length }}{{ y | join }}") == "2userassistant");
  CHECK(rendered(made + "{% set y = x | reverse %}{{ y | length }}{{ y | join }}") == "2assistantuser");
  for (const char* filter :
       {"select", "reject", "unique", "selectattr('role')", "rejectattr('role')", "reverse"}) {
    CAPTURE(filter);
    CHECK(contains(error("{% set x = messages | " + std::string(filter) +
                         " %}{% for y in x %}{% endfor %}{% for y in x %}{% endfor %}"),
                   "a second time"));
  }
}

TEST_CASE("expressions have the values that Jinja2 gives them", "[chat]") {
  const std::pair<const char*, const char*> cases[] = {
      {"'+5' | int", "5"},
      {"'1_0' | int ~ ' ' ~ '_1' | int ~ ' ' ~ '1__0' | int(7) ~ ' ' ~ '1_' | int(8)", "10 0 7 8"},
      {"' -1_2.5e1 ' | int ~ ' ' ~ '+-5' | int(3) ~ ' ' ~ '.5' | int(3) ~ ' ' ~ '-' | int(4)", "-125 3 0 4"},
      {"'inf' | int(3) ~ ' ' ~ 'nan' | int(4) ~ ' ' ~ '1e400' | int(5) ~ ' ' ~ 'é' | int(6)", "3 4 5 6"},
      {"(1e308 * 10 - 1e308 * 10) | int(9)", "9"},
      {"-0.0 ~ ' ' ~ -(2.5) ~ ' ' ~ +1.5", "-0.0 -2.5 1.5"},
      {"dict({'a': 1, 'b': 3}, a=2) | tojson", R"({"a": 2, "b": 3})"},
      {"namespace({'a': 1}, a=2).a", "2"},
      {"'ßa' | capitalize ~ ' ' ~ 'ŉA' | capitalize ~ ' ' ~ 'ΑΣ' | capitalize ~ ' ' ~ 'ǆa' | capitalize",
       "Ssa ʼNa Ας ǅa"},
      {"'ΑΣ ΑΣΑ ßA'.title()", "Ας Ασα Ssa"},
      {"'\\x7f\\x1f' | tojson(ensure_ascii=true) ~ '\\x7f' | tojson", "\"\\u007f\\u001f\"\"\x7f\""},
      {"(1e308 * 10) | tojson", "Infinity"},
  };
  for (const auto& [expression, value] : cases) {
    CAPTURE(expression);
    CHECK(rendered(print(expression)) == value);
  }
  CHECK(rendered(
            "{% for i in [1] %}{% for j in [1] %}{{ loop.depth ~ loop.depth0 }}{% endfor %}{% endfor %}") ==
        "10");
  for (const char* expression :
       {"1e300 | int", "(1e308 * 10) | int", "'9223372036854775808' | int", "'1e30' | int"})
    CHECK(contains(error(print(expression)), "beyond 64 bits"));
  CHECK(contains(error(print("'\uff15' | int")), "digits of another script"));
  CHECK(contains(error(print("dict({}, {})")), "of several values"));
  const std::string macro =
      "{% macro f(a) %}{{ varargs | length }}{{ kwargs | length }}{{ caller is defined }}";
  CHECK(rendered(macro + "{% endmacro %}{{ f(1) }}") == "00False");
  CHECK(contains(error(macro + "{% endmacro %}{{ f(1, 2) }}"), "too many arguments"));
  CHECK(contains(error("{% macro f() %}{{ varargs }}{% endmacro %}{{ f() }}"), "prints a list"));
}

TEST_CASE("nested marks of what a model is to learn do not double it", "[chat]") {
  const ChatFolder folder(Json::object(),
                          "x{% generation %}a{% generation %}b{% endgeneration %}c{% endgeneration %}y"
                          "{% generation %}d{% endgeneration %}");
  const auto documents =
      folder.parts({{"messages", messages}}, folder.options((folder.folder / "t.jinja").string()), true);
  std::string all;
  for (const TextPart& part : documents.at(0)) all += part.response ? "[" + part.text + "]" : part.text;
  CHECK(all == "x[abc]y[d]");
}
