# SPDX-License-Identifier: MIT OR Apache-2.0
#
# The targets that users link, made by one file for the build tree and for an installed prefix alike. Reads
# shm_VERSION, shm_SOVERSION, shm_LIBRARY_DIR, shm_C_INCLUDE_DIR, shm_CXX_INCLUDE_DIR, shm_TARGET_SCOPE.
#
#   shm::c         libshm.so and shm/shm.h
#   shm::c_static  libshm.a and what the system must add to it
#   shm::shm       the C++17 headers over shm::c, and the threads that they start; only where shm::msgpack is

if(NOT TARGET shm::c)
  add_library(shm::c SHARED IMPORTED ${shm_TARGET_SCOPE})
  set_target_properties(shm::c PROPERTIES
    IMPORTED_LOCATION "${shm_LIBRARY_DIR}/libshm.so.${shm_VERSION}"
    IMPORTED_SONAME "libshm.so.${shm_SOVERSION}"
    INTERFACE_INCLUDE_DIRECTORIES "${shm_C_INCLUDE_DIR}")
endif()

if(NOT TARGET shm::c_static)
  # As `rustc --print native-static-libs` has it, less gcc_s and c, which every compiler driver adds in the form
  # (shared or not) that the link needs.
  add_library(shm::c_static STATIC IMPORTED ${shm_TARGET_SCOPE})
  set_target_properties(shm::c_static PROPERTIES
    IMPORTED_LOCATION "${shm_LIBRARY_DIR}/libshm.a"
    IMPORTED_LINK_INTERFACE_LANGUAGES C
    INTERFACE_INCLUDE_DIRECTORIES "${shm_C_INCLUDE_DIR}"
    INTERFACE_LINK_LIBRARIES "util;rt;pthread;m;dl")
endif()

if(TARGET shm::msgpack AND NOT TARGET shm::shm)
  add_library(shm::shm INTERFACE IMPORTED ${shm_TARGET_SCOPE})
  set_target_properties(shm::shm PROPERTIES
    INTERFACE_COMPILE_FEATURES cxx_std_17
    INTERFACE_INCLUDE_DIRECTORIES "${shm_CXX_INCLUDE_DIR}"
    INTERFACE_LINK_LIBRARIES "shm::c;shm::msgpack;pthread")
endif()
