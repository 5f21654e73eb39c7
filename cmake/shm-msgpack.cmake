# SPDX-License-Identifier: MIT OR Apache-2.0
#
# Makes shm::msgpack, the headers of msgpack-cxx (which is nothing but headers), used without Boost. Leaves it
# unmade where they aren't found.
#
# A target that the project around has made is taken first. msgpack's own package config isn't asked for: it was
# named msgpack (now the C library's), msgpackc-cxx and msgpack-cxx in turn, and as distributions ship it, it
# demands Boost.

if(NOT TARGET shm::msgpack)
  foreach(candidate msgpack-cxx msgpackc-cxx)
    if(TARGET ${candidate})
      set(shm_msgpack_include "$<TARGET_PROPERTY:${candidate},INTERFACE_INCLUDE_DIRECTORIES>")
      break()
    endif()
  endforeach()
  if(NOT shm_msgpack_include)
    find_path(SHM_MSGPACK_INCLUDE_DIR msgpack.hpp DOC "The folder of msgpack-cxx's msgpack.hpp")
    mark_as_advanced(SHM_MSGPACK_INCLUDE_DIR)
    if(SHM_MSGPACK_INCLUDE_DIR)
      set(shm_msgpack_include "${SHM_MSGPACK_INCLUDE_DIR}")
    endif()
  endif()
  if(shm_msgpack_include)
    add_library(shm::msgpack INTERFACE IMPORTED GLOBAL)
    set_target_properties(shm::msgpack PROPERTIES
      INTERFACE_INCLUDE_DIRECTORIES "${shm_msgpack_include}"
      INTERFACE_COMPILE_DEFINITIONS MSGPACK_NO_BOOST)
  endif()
  unset(shm_msgpack_include)
endif()
