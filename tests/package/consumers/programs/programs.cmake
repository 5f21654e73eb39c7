# SPDX-License-Identifier: MIT OR Apache-2.0
#
# The programs that every consumer project builds, once it has shm's targets.

add_executable(c_shared ${CMAKE_CURRENT_LIST_DIR}/roundtrip.c)
target_link_libraries(c_shared PRIVATE shm::c)

add_executable(c_static ${CMAKE_CURRENT_LIST_DIR}/roundtrip.c)
target_link_libraries(c_static PRIVATE shm::c_static)

get_property(languages GLOBAL PROPERTY ENABLED_LANGUAGES)
if("CXX" IN_LIST languages)
  add_executable(cxx ${CMAKE_CURRENT_LIST_DIR}/roundtrip.cpp ${CMAKE_CURRENT_LIST_DIR}/greet.cpp)
  target_link_libraries(cxx PRIVATE shm::shm)
endif()
