# Libraries that go into the binary, so that it starts on machines that lack them: {fmt}, yaml-cpp and the C++ runtime.
# libcurl is loaded only when a model is fetched (src/config/hub.cc); its header is all that building needs.
find_package(fmt REQUIRED)
find_package(yaml-cpp REQUIRED)
find_path(CURL_INCLUDE_DIR curl/curl.h REQUIRED)

# Debian's {fmt} has no static library. Its compiled part is src/base/fmt_library.cc, which knows the sources of 9.x; any
# other version is used from its headers alone, which compiles longer.
if(fmt_VERSION VERSION_GREATER_EQUAL 9 AND fmt_VERSION VERSION_LESS 10)
  get_target_property(fmt_include fmt::fmt-header-only INTERFACE_INCLUDE_DIRECTORIES)
  include_directories(SYSTEM ${fmt_include})
  add_compile_definitions(FMT_SHARED)  # as its headers see a compiled library
else()
  link_libraries($<BUILD_INTERFACE:fmt::fmt-header-only>)
endif()

find_library(YAML_CPP_ARCHIVE libyaml-cpp.a)
if(YAML_CPP_ARCHIVE)
  set(SHARDWISE_YAML ${YAML_CPP_ARCHIVE})
else()
  message(WARNING "no libyaml-cpp.a: the binary will need yaml-cpp's shared library wherever it runs")
  set(SHARDWISE_YAML yaml-cpp)
endif()
