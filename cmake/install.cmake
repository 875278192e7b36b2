# find_package(shardwise) for C++ users: one imported target, shardwise::shardwise.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)
get_property(layers GLOBAL PROPERTY SHARDWISE_LAYERS)
list(REMOVE_ITEM layers shardwise_cli shardwise_verify)
install(TARGETS ${layers} EXPORT shardwise-targets ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(TARGETS shardwise RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
# Public headers: shardwise.h, and what its values need. Nothing else is installed.
execute_process(COMMAND ${Python3_EXECUTABLE} ${PROJECT_SOURCE_DIR}/tools/checks/public_headers.py ${PROJECT_SOURCE_DIR}/src
  OUTPUT_VARIABLE public_headers OUTPUT_STRIP_TRAILING_WHITESPACE COMMAND_ERROR_IS_FATAL ANY)
string(REPLACE "\n" ";" public_headers "${public_headers}")
foreach(header ${public_headers})
  get_filename_component(folder ${header} DIRECTORY)
  install(FILES src/${header} DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/shardwise/${folder})
endforeach()
install(FILES LICENSE NOTICE DESTINATION ${CMAKE_INSTALL_DOCDIR})
install(EXPORT shardwise-targets NAMESPACE shardwise:: DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/shardwise)
configure_package_config_file(cmake/shardwise-config.cmake.in ${PROJECT_BINARY_DIR}/shardwise-config.cmake
  INSTALL_DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/shardwise)
write_basic_package_version_file(${PROJECT_BINARY_DIR}/shardwise-config-version.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/shardwise-config.cmake ${PROJECT_BINARY_DIR}/shardwise-config-version.cmake
  DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/shardwise)
