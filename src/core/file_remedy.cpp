#include <cerrno>

#include <galapagos/core/file_remedy.hpp>

namespace galapagos {

std::string remedy_for(int error) {
  switch (error) {
    case ENOSPC:
      return "free space on that file system or choose another";
    case EDQUOT:
      return "your quota there is used up (blocks or files): remove something, ask for more, or choose "
             "another "
             "file system";
    case EFBIG:
      return "files there may not be so large: raise the limit (ulimit -f) or choose another file system";
    case EROFS:
      return "that file system is mounted read-only: choose another";
    case EACCES:
    case EPERM:
      return "check the permissions of the file and of the folders above it";
    case ENOENT:
      return "check the path: the folder has to exist";
    case ENOTDIR:
      return "check the path: what stands before a / is no folder";
    case EISDIR:
      return "give the path of a file: this is a folder";
    case ENAMETOOLONG:
      return "choose a shorter name or path";
    case ELOOP:
      return "check the path: its symbolic links go in a circle";
    case EMFILE:
      return "raise the limit on open files (ulimit -n), or start fewer ranks on a node";
    case ENFILE:
      return "the node has too many open files: use fewer ranks on it, or another";
    case ENOMEM:
      return "raise the limit on address space (ulimit -v), or use more ranks or nodes";
    case ESTALE:
      return "the file server has replaced or lost it: check the mount, then run the same command again";
    case EIO:
    case EREMOTEIO:
      return "a disk or the file server is at fault: see the system's log (dmesg), then run the same command "
             "again";
    case ENOTCONN:
    case ETIMEDOUT:
    case EHOSTDOWN:
    case ECONNRESET:
      return "the file server does not answer: check the mount, then run the same command again";
    case ENOLCK:
    case EDEADLK:
      return "the file system keeps no locks: set HDF5_USE_FILE_LOCKING=FALSE";
    case EBUSY:
    case ETXTBSY:
    case EAGAIN:
      return "another program uses it: end that, or choose another path";
    case EINVAL:
    case ENODEV:
    case ENOSYS:
    case EOPNOTSUPP:
      return "the file system there cannot do that: choose another";
    default:
      return "check the file system there, then run the same command again";
  }
}

bool is_shortage(int error) {
  switch (error) {
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
    case EMFILE:
    case ENFILE:
    case ENOMEM:
    case ESTALE:
    case EIO:
    case EREMOTEIO:
    case ENOTCONN:
    case ETIMEDOUT:
    case EHOSTDOWN:
    case ECONNRESET:
      return true;
    default:
      return false;
  }
}

}  // namespace galapagos
