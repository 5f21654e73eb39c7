# SPDX-License-Identifier: MIT OR Apache-2.0
#
# Builds the Rust core through cargo, which alone knows whether there is anything to do: so it is asked in every
# build. Its results are copied into lib/ under the names that the loader looks for (cargo makes just libshm.so),
# and only when they differ, so that nothing is linked again without need.

find_program(SHM_CARGO cargo HINTS "$ENV{CARGO_HOME}/bin" "$ENV{HOME}/.cargo/bin")
if(NOT SHM_CARGO)
  message(FATAL_ERROR "shm: the core is written in Rust, and cargo isn't found: install Rust, or set SHM_CARGO")
endif()

set(shm_cargo_target "")
set(shm_cargo_place "${SHM_CARGO_TARGET_DIR}")
if(SHM_CARGO_TARGET)
  set(shm_cargo_target --target "${SHM_CARGO_TARGET}")
  set(shm_cargo_place "${SHM_CARGO_TARGET_DIR}/${SHM_CARGO_TARGET}")
elseif(CMAKE_CROSSCOMPILING)
  message(FATAL_ERROR "shm: to build for another machine, say which to cargo: SHM_CARGO_TARGET")
endif()

# With a generator of several configurations the core is the same, optimised one in all of them.
if(CMAKE_BUILD_TYPE STREQUAL "Debug")
  set(shm_cargo_profile dev)
  set(shm_cargo_output "${shm_cargo_place}/debug")
else()
  set(shm_cargo_profile release)
  set(shm_cargo_output "${shm_cargo_place}/release")
endif()

set(shm_so "${shm_LIBRARY_DIR}/libshm.so.${shm_VERSION}")
set(shm_a "${shm_LIBRARY_DIR}/libshm.a")
add_custom_target(shm-cargo ALL
  COMMAND "${SHM_CARGO}" build --profile ${shm_cargo_profile} --package shm --lib
          --target-dir "${SHM_CARGO_TARGET_DIR}" ${shm_cargo_target} ${SHM_CARGO_FLAGS}
  COMMAND "${CMAKE_COMMAND}" -E copy_if_different "${shm_cargo_output}/libshm.so" "${shm_so}"
  COMMAND "${CMAKE_COMMAND}" -E copy_if_different "${shm_cargo_output}/libshm.a" "${shm_a}"
  BYPRODUCTS "${shm_so}" "${shm_a}"
  WORKING_DIRECTORY "${PROJECT_SOURCE_DIR}"
  COMMENT "Building the Rust core with cargo"
  USES_TERMINAL VERBATIM)
add_dependencies(shm::c shm-cargo)
add_dependencies(shm::c_static shm-cargo)

file(MAKE_DIRECTORY "${shm_LIBRARY_DIR}")
file(CREATE_LINK libshm.so.${shm_VERSION} "${shm_LIBRARY_DIR}/libshm.so.${shm_SOVERSION}" SYMBOLIC)
file(CREATE_LINK libshm.so.${shm_SOVERSION} "${shm_LIBRARY_DIR}/libshm.so" SYMBOLIC)
