#include "pickle.hpp"

#include "little_endian.hpp"
#include "pickle_operations.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <fmt/format.h>
#include <unordered_map>

#include <galapagos/core/error.hpp>

namespace galapagos::torch_format {
namespace {

bool is_known(const std::string& name) {
  return name == rebuild_tensor || name == ordered_dict ||
         std::ranges::find(storage_types, name, &StorageType::name) != storage_types.end();
}

class Machine {
 public:
  Machine(std::span<const std::byte> bytes, const std::string& where) : bytes_(bytes), where_(where) {}

  Pickled run() {
    while (step()) {
    }
    if (stack_.size() != 1) damaged("it leaves more or less than one thing");
    return {std::move(nodes_), stack_.front()};
  }

 private:
  using Items = std::vector<const Node*>;

  [[noreturn]] void damaged(const std::string& what) const {
    throw InputError(fmt::format("a damaged pickle: {} (byte {})", what, at_), where_,
                     "copy or download the file again");
  }
  [[noreturn]] void refuse(const std::string& what) const {
    throw InputError(what, where_, "load it where you trust it, and save plain tensors with torch.save");
  }

  template <std::integral T>
  T number() {
    const auto value = number_at<T>(bytes_, at_);
    if (!value) damaged("it is cut off");
    at_ += sizeof(T);
    return *value;
  }
  std::string text(std::size_t length) {
    if (bytes_.size() - at_ < length) damaged("it is cut off");
    const std::string found(reinterpret_cast<const char*>(bytes_.data() + at_), length);
    at_ += length;
    return found;
  }
  std::string line() {
    const auto rest = bytes_.subspan(at_);
    const auto end = std::ranges::find(rest, std::byte{'\n'});
    if (end == rest.end()) damaged("it is cut off");
    const std::string found = text(static_cast<std::size_t>(end - rest.begin()));
    ++at_;
    return found;
  }

  template <typename T>
  void push(T value) {
    stack_.push_back(&nodes_.emplace_back(Node{std::move(value)}));
  }
  Node* pop() {
    if (stack_.empty()) damaged("it takes what is not there");
    Node* node = stack_.back();
    stack_.pop_back();
    if (std::holds_alternative<Node::Mark>(node->value)) damaged("it takes what is not there");
    return node;
  }
  /// What lies above the last mark, and takes that away.
  Items pop_to_mark() {
    Items items;
    while (true) {
      if (stack_.empty()) damaged("there is no mark");
      Node* node = stack_.back();
      stack_.pop_back();
      if (std::holds_alternative<Node::Mark>(node->value)) break;
      items.push_back(node);
    }
    std::ranges::reverse(items);
    return items;
  }
  template <typename T>
  T& top() {
    T* found = stack_.empty() ? nullptr : std::get_if<T>(&stack_.back()->value);
    if (found == nullptr) damaged("it adds to what takes nothing");
    return *found;
  }

  void push_global() {
    const std::string module = line(), name = module + "." + line();
    if (!is_known(name)) refuse("it asks for " + printable(name) + ", which is not run");
    push(Node::Global{name});
  }
  void push_long() {
    const std::size_t length = number<std::uint8_t>();
    if (length > sizeof(std::int64_t)) refuse("a number of more than 64 bits");
    const std::string digits = text(length);
    std::uint64_t value = 0;
    for (std::size_t i = 0; i < length; ++i)
      value |= static_cast<std::uint64_t>(static_cast<std::uint8_t>(digits[i])) << (8 * i);
    if (length > 0 && length < sizeof value && (digits.back() & 0x80) != 0)
      value |= ~std::uint64_t{0} << (8 * length);
    push(static_cast<std::int64_t>(value));
  }
  void push_double() {
    push(std::bit_cast<double>(__builtin_bswap64(number<std::uint64_t>())));  // the one big-endian number
  }
  void push_tuple(std::size_t count) {
    Items items(count);
    for (auto item = items.rbegin(); item != items.rend(); ++item) *item = pop();
    push(Node::Tuple{std::move(items)});
  }
  void call() {
    const Node* arguments = pop();
    const Node* called = pop();
    const auto* name = std::get_if<Node::Global>(&called->value);
    const auto* given = std::get_if<Node::Tuple>(&arguments->value);
    if (name == nullptr || given == nullptr) damaged("it calls what is no function");
    if (name->name == rebuild_tensor) return push(tensor_of_arguments(*given, where_));
    if (name->name != ordered_dict) refuse("it calls " + printable(name->name));
    if (!given->items.empty()) refuse("an ordered dictionary made from something");
    push(Node::Dict{});
  }
  void add_items(const Items& items) {
    if (items.size() % 2 != 0) damaged("a key without a value");
    auto& dict = top<Node::Dict>();
    for (std::size_t i = 0; i < items.size(); i += 2) dict.items.emplace_back(items[i], items[i + 1]);
  }
  void remember(std::uint32_t key) {
    if (stack_.empty()) damaged("it remembers nothing");
    memo_[key] = stack_.back();
  }
  void recall(std::uint32_t key) {
    const auto found = memo_.find(key);
    if (found == memo_.end()) damaged("it recalls what it has not remembered");
    stack_.push_back(found->second);
  }
  void check_protocol() {
    const int version = number<std::uint8_t>();
    if (version != 2) refuse(fmt::format("a pickle of protocol {}, not 2", version));
  }

  /// Does one operation; false after the last.
  bool step() {
    const auto operation = number<std::uint8_t>();
    switch (operation) {
      case proto:
        check_protocol();
        return true;
      case stop:
        return false;
      case mark:
        push(Node::Mark{});
        return true;
      case none:
        push(Node::None{});
        return true;
      case newtrue:
        push(true);
        return true;
      case newfalse:
        push(false);
        return true;
      case binint:
        push(std::int64_t{number<std::int32_t>()});
        return true;
      case binint1:
        push(std::int64_t{number<std::uint8_t>()});
        return true;
      case binint2:
        push(std::int64_t{number<std::uint16_t>()});
        return true;
      case long1:
        push_long();
        return true;
      case binfloat:
        push_double();
        return true;
      case binunicode:
        push(text(number<std::uint32_t>()));
        return true;
      case empty_list:
        push(Node::List{});
        return true;
      case empty_dict:
        push(Node::Dict{});
        return true;
      case empty_tuple:
        push(Node::Tuple{});
        return true;
      case tuple:
        push(Node::Tuple{pop_to_mark()});
        return true;
      case tuple1:
        push_tuple(1);
        return true;
      case tuple2:
        push_tuple(2);
        return true;
      case tuple3:
        push_tuple(3);
        return true;
      case binput:
        remember(number<std::uint8_t>());
        return true;
      case long_binput:
        remember(number<std::uint32_t>());
        return true;
      case binget:
        recall(number<std::uint8_t>());
        return true;
      case long_binget:
        recall(number<std::uint32_t>());
        return true;
      case global:
        push_global();
        return true;
      case binpersid:
        push(storage_of_id(*pop(), where_));
        return true;
      case reduce:
        call();
        return true;
      case append_one:
        add_to_list({pop()});
        return true;
      case appends:
        add_to_list(pop_to_mark());
        return true;
      case setitem:
        add_pair();
        return true;
      case setitems:
        add_items(pop_to_mark());
        return true;
      default:
        refuse(fmt::format("the pickle operation 0x{:02x}, which plain tensors do not need", operation));
    }
  }
  void add_to_list(const Items& items) {
    auto& list = top<Node::List>();
    list.items.insert(list.items.end(), items.begin(), items.end());
  }
  void add_pair() {
    const Node* value = pop();
    const Node* key = pop();
    add_items({key, value});
  }

  std::span<const std::byte> bytes_;
  const std::string& where_;
  std::size_t at_ = 0;
  std::deque<Node> nodes_;
  std::vector<Node*> stack_;
  std::unordered_map<std::uint32_t, Node*> memo_;
};

}  // namespace

Pickled read_pickle(std::span<const std::byte> bytes, const std::string& where) {
  return Machine(bytes, where).run();
}

}  // namespace galapagos::torch_format
