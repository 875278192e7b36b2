# For code that no search or simulation spends its time in: optimised less, half the time to compile.
set(SHARDWISE_COLD $<$<CONFIG:Release>:-O1>)

# Sources of one target are compiled a few at a time: their headers are read once (a third of the time of one by one),
# and a changed file still takes only its few neighbours with it. Names in anonymous namespaces are therefore unique
# within a layer.
function(shardwise_unity target)
  set_target_properties(${target} PROPERTIES UNITY_BUILD ON UNITY_BUILD_BATCH_SIZE 6)
endfunction()

# shardwise_test(NAME LIBRARY SOURCES...): one googletest program NAME_test, ctest NAME.
function(shardwise_test name library)
  add_executable(${name}_test ${ARGN})
  shardwise_unity(${name}_test)
  target_link_libraries(${name}_test PRIVATE ${library} GTest::gmock GTest::gtest_main)
  target_compile_definitions(${name}_test PRIVATE SHARDWISE_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
  target_compile_options(${name}_test PRIVATE ${SHARDWISE_COLD})
  add_test(NAME ${name} COMMAND ${name}_test)
endfunction()

# shardwise_test_program(NAME LIBRARY): every x_test.cc of this folder.
function(shardwise_test_program name library)
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*_test.cc)
  shardwise_test(${name} ${library} ${sources})
endfunction()

# shardwise_layer(NAME DEP...): the library of src/NAME. DEP... is the complete list of layers whose headers NAME may
# include; tools/checks/layers.py reads the same lines and fails the build on any other include.
# Sources are found by name: x.cc is code, x_test.cc its test, so a new file needs no edit here.
function(shardwise_layer name)
  set_property(GLOBAL APPEND PROPERTY SHARDWISE_LAYERS shardwise_${name})
  set_property(GLOBAL PROPERTY SHARDWISE_LAYER_${name} ${ARGN})
endfunction()

# Makes the targets of the layer table, the top layer first: ninja compiles in the order of declaration, the top layers
# have the longest files, and a long file begun last would leave the other cores idle.
function(shardwise_build_layers)
  get_property(layers GLOBAL PROPERTY SHARDWISE_LAYERS)
  list(REVERSE layers)
  foreach(target ${layers})
    string(REPLACE shardwise_ "" name ${target})
    get_property(deps GLOBAL PROPERTY SHARDWISE_LAYER_${name})
    shardwise_layer_targets(${name} ${deps})
  endforeach()
endfunction()

function(shardwise_layer_targets name)
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/${name}/*.cc)
  set(tests ${sources})
  list(FILTER sources EXCLUDE REGEX "_test\\.cc$")
  list(FILTER tests INCLUDE REGEX "_test\\.cc$")
  if(NOT sources)
    add_library(shardwise_${name} INTERFACE)
    set(visibility INTERFACE)
  else()
    add_library(shardwise_${name} STATIC ${sources})
    shardwise_unity(shardwise_${name})
    set(visibility PUBLIC)
  endif()
  target_include_directories(shardwise_${name} ${visibility} $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/src>
                                                             $<INSTALL_INTERFACE:include>
                                                             $<INSTALL_INTERFACE:include/shardwise>)
  foreach(dep ${ARGN})
    target_link_libraries(shardwise_${name} ${visibility} shardwise_${dep})
  endforeach()
  target_link_libraries(shardwise_${name} ${visibility} nlohmann_json::nlohmann_json Threads::Threads)
  if(SHARDWISE_TESTS AND tests)
    shardwise_test(${name} shardwise_${name} ${tests})
  endif()
endfunction()
