# SPDX-License-Identifier: MIT OR Apache-2.0
#
# What goes into a prefix. Every path in it is relative, so that the prefix can be moved.

include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

install(FILES "${shm_so}" "${shm_LIBRARY_DIR}/libshm.so.${shm_SOVERSION}" "${shm_LIBRARY_DIR}/libshm.so" "${shm_a}"
        DESTINATION "${CMAKE_INSTALL_LIBDIR}")
install(DIRECTORY include/ cpp/include/ DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}"
        FILES_MATCHING PATTERN "*.h" PATTERN "*.hpp")

set(shm_config_dir "${CMAKE_INSTALL_LIBDIR}/cmake/shm")
set(generated "${PROJECT_BINARY_DIR}/package")
configure_package_config_file(cmake/shm-config.cmake.in "${generated}/shm-config.cmake"
  INSTALL_DESTINATION "${shm_config_dir}"
  PATH_VARS CMAKE_INSTALL_INCLUDEDIR CMAKE_INSTALL_LIBDIR)
# Any release with the same SONAME can stand in for an older one.
write_basic_package_version_file("${generated}/shm-config-version.cmake" COMPATIBILITY SameMajorVersion)
install(FILES "${generated}/shm-config.cmake" "${generated}/shm-config-version.cmake"
              cmake/shm-targets.cmake cmake/shm-msgpack.cmake
        DESTINATION "${shm_config_dir}")

# pkg-config knows where the .pc file lies, and finds the rest from there.
set(pc_dir "${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig")
foreach(place PREFIX FULL_LIBDIR FULL_INCLUDEDIR)
  file(RELATIVE_PATH way "${pc_dir}" "${CMAKE_INSTALL_${place}}")
  string(REGEX REPLACE "/$" "" PC_TO_${place} "${way}")
endforeach()
get_target_property(pc_private shm::c_static INTERFACE_LINK_LIBRARIES)
list(TRANSFORM pc_private PREPEND "-l")
list(JOIN pc_private " " pc_private)
configure_file(cmake/shm.pc.in "${generated}/shm.pc" @ONLY)
install(FILES "${generated}/shm.pc" DESTINATION "${CMAKE_INSTALL_LIBDIR}/pkgconfig")
