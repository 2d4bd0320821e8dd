# SPDX-License-Identifier: BSD-3-Clause
# Options, build type, language level, output folders.

option(HV_BUILD_BENCH "build the programs of make bench" ON)
option(HV_BUILD_FUZZ "build fuzz targets (clang, libFuzzer)" OFF)
option(HV_WITH_UBLK "block devices in hvblk-daemon (liburing)" ON)
option(HV_WERROR "warnings are errors" OFF)
set(HV_SANITIZE "" CACHE STRING "sanitizers for everything, e.g. address,undefined or thread")

if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE RelWithDebInfo CACHE STRING "build type" FORCE)
endif()

set(CMAKE_C_STANDARD 11)
set(CMAKE_C_STANDARD_REQUIRED ON)
set(CMAKE_C_EXTENSIONS ON)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(HV_OPTIMIZE "-O3" CACHE STRING "how RelWithDebInfo is optimised; -O1 for the sanitizers")
set(CMAKE_C_FLAGS_RELWITHDEBINFO "${HV_OPTIMIZE} -g")
add_compile_definitions(_GNU_SOURCE)
# What a library exports is said by its map (packaging/*.map); inside it nothing is meant to be replaced at run time.
add_compile_options(-fno-semantic-interposition)

set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/bin)
set(CMAKE_LIBRARY_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/lib)
set(CMAKE_ARCHIVE_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/lib)

if(HV_BUILD_FUZZ)
  if(NOT CMAKE_C_COMPILER_ID STREQUAL "Clang")
    message(FATAL_ERROR "HV_BUILD_FUZZ needs clang: configure with -DCMAKE_C_COMPILER=clang-14")
  endif()
  if(NOT HV_SANITIZE)
    set(HV_SANITIZE address,undefined)
  endif()
  add_compile_options(-fsanitize=fuzzer-no-link)
endif()
if(HV_SANITIZE)
  add_compile_options(-fsanitize=${HV_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
  add_link_options(-fsanitize=${HV_SANITIZE})
endif()
find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)
