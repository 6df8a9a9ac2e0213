#pragma once

#include "value.hpp"

#include <string>

namespace galapagos::jinja {

/// Whether there is a filter or a test of that name here.
bool is_filter(const std::string& name);
bool is_test(const std::string& name);

Value apply_filter(const std::string& name, const Value& value, const Arguments& arguments);
bool apply_test(const std::string& name, const Value& value, const Arguments& arguments);

/// The filter `int`: of a number its whole part, of a text what Python reads it as, or else the default.
Value to_integer(const Value& value, const Arguments& arguments);

/// A method of Python's texts, lists or dictionaries, bound to its object; undefined where there is none.
Value method_of(const Value& object, const std::string& name);

/// object.name: a method or member, or else what lies under that key; undefined where nothing does.
Value member_of(const Value& object, const std::string& name);
/// object[key], or else object.key; undefined where nothing is.
Value item_of(const Value& object, const Value& key);
/// object[begin:end:step], none for what is left out.
Value slice_of(const Value& object, const Value& begin, const Value& end, const Value& step);
/// As Python's operators of these signs.
Value binary(const std::string& sign, const Value& a, const Value& b);
bool compare(const std::string& sign, const Value& a, const Value& b);
/// Jinja's ~: as texts.
std::string concatenated(const List& values);

/// What transformers gives every template besides its data: namespace, raise_exception, strftime_now, range,
/// dict.
Dict globals();

}  // namespace galapagos::jinja
