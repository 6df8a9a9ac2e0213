#include <algorithm>

#include <galapagos/io/hdf5.hpp>

namespace galapagos {

bool Hdf5File::has_attribute(const std::string& object, const std::string& name) const {
  return H5Aexists_by_name(file_.get(), object.c_str(), name.c_str(), H5P_DEFAULT) > 0;
}

void Hdf5File::set_attribute(const std::string& object, const std::string& name, hid_t type,
                             const void* value) {
  const bool exists = has_attribute(object, name);
  const Hdf5Handle space(H5Screate(H5S_SCALAR), H5Sclose);
  const Hdf5Handle attribute(
      exists ? H5Aopen_by_name(file_.get(), object.c_str(), name.c_str(), H5P_DEFAULT, H5P_DEFAULT)
             : H5Acreate_by_name(file_.get(), object.c_str(), name.c_str(), type, space.get(), H5P_DEFAULT,
                                 H5P_DEFAULT, H5P_DEFAULT),
      H5Aclose);
  if (attribute.get() < 0 || H5Awrite(attribute.get(), type, value) < 0) {
    write_failed("cannot write the attribute " + name, object);
  }
}

void Hdf5File::write_attribute(const std::string& object, const std::string& name, const std::string& value) {
  const Hdf5Handle type(H5Tcopy(H5T_C_S1), H5Tclose);
  H5Tset_size(type.get(), std::max<std::size_t>(value.size(), 1));
  H5Tset_strpad(type.get(), H5T_STR_NULLPAD);
  H5Tset_cset(type.get(), H5T_CSET_UTF8);
  set_attribute(object, name, type.get(), value.data());
}

void Hdf5File::write_attribute(const std::string& object, const std::string& name, double value) {
  set_attribute(object, name, H5T_IEEE_F64LE, &value);
}

void Hdf5File::write_attribute(const std::string& object, const std::string& name, std::int64_t value) {
  set_attribute(object, name, H5T_STD_I64LE, &value);
}

void Hdf5File::get_attribute(const std::string& object, const std::string& name, hid_t type,
                             void* value) const {
  const Hdf5Handle attribute(
      H5Aopen_by_name(file_.get(), object.c_str(), name.c_str(), H5P_DEFAULT, H5P_DEFAULT), H5Aclose);
  if (attribute.get() < 0) read_failed("no attribute " + name, object);
  const Hdf5Handle found(H5Aget_type(attribute.get()), H5Tclose);
  const Hdf5Handle space(H5Aget_space(attribute.get()), H5Sclose);
  if (H5Tequal(found.get(), type) <= 0 || H5Sget_simple_extent_npoints(space.get()) != 1 ||
      H5Aread(attribute.get(), type, value) < 0) {
    read_failed("the attribute " + name + " is not of the expected type", object);
  }
}

std::string Hdf5File::read_string(const std::string& object, const std::string& name) const {
  constexpr std::size_t longest = 1 << 20;
  const Hdf5Handle attribute(
      H5Aopen_by_name(file_.get(), object.c_str(), name.c_str(), H5P_DEFAULT, H5P_DEFAULT), H5Aclose);
  if (attribute.get() < 0) read_failed("no attribute " + name, object);
  const Hdf5Handle type(H5Aget_type(attribute.get()), H5Tclose);
  const Hdf5Handle space(H5Aget_space(attribute.get()), H5Sclose);
  const std::size_t size = H5Tget_size(type.get());
  if (H5Tget_class(type.get()) != H5T_STRING || H5Tis_variable_str(type.get()) > 0 || size > longest ||
      H5Sget_simple_extent_npoints(space.get()) != 1) {
    read_failed("the attribute " + name + " is not a text", object);
  }
  std::string text(size, '\0');
  if (H5Aread(attribute.get(), type.get(), text.data()) < 0)
    read_failed("cannot read the attribute " + name, object);
  return text.substr(0, text.find('\0'));
}

double Hdf5File::read_double(const std::string& object, const std::string& name) const {
  double value = 0;
  get_attribute(object, name, H5T_IEEE_F64LE, &value);
  return value;
}

std::int64_t Hdf5File::read_integer(const std::string& object, const std::string& name) const {
  std::int64_t value = 0;
  get_attribute(object, name, H5T_STD_I64LE, &value);
  return value;
}

}  // namespace galapagos
