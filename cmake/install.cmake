# find_package(shardwise) for C++ users: one imported target, shardwise::shardwise.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)
get_property(layers GLOBAL PROPERTY SHARDWISE_LAYERS)
list(REMOVE_ITEM layers shardwise_cli)
install(TARGETS ${layers} EXPORT shardwise-targets ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(TARGETS shardwise RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
install(DIRECTORY src/ DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/shardwise FILES_MATCHING PATTERN "*.h" PATTERN "cli" EXCLUDE)
install(EXPORT shardwise-targets NAMESPACE shardwise:: DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/shardwise)
configure_package_config_file(cmake/shardwise-config.cmake.in ${PROJECT_BINARY_DIR}/shardwise-config.cmake
  INSTALL_DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/shardwise)
write_basic_package_version_file(${PROJECT_BINARY_DIR}/shardwise-config-version.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/shardwise-config.cmake ${PROJECT_BINARY_DIR}/shardwise-config-version.cmake
  DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/shardwise)
