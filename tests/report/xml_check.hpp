#pragma once

#include <string>

namespace galapagos::test {

/// What is wrong with a text as XML, empty where nothing is: tags that do not match, attributes without
/// quotes or given twice, bare & and <. Knows elements, attributes, entities and a first <!DOCTYPE>.
std::string xml_fault(const std::string& text);

}  // namespace galapagos::test
