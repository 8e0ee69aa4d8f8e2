# Every library comes from the system. The Debian and Ubuntu names stand in debian-packages.txt,
# which the launcher and .ci/run install; this file finds the same list.
function(apotnet_require name package)
  find_package(${name} QUIET ${ARGN})
  if(NOT ${name}_FOUND)
    message(FATAL_ERROR "${name} not found. Install it with: apt-get install ${package}")
  endif()
endfunction()

apotnet_require(Threads g++)
apotnet_require(ZLIB zlib1g-dev)
apotnet_require(nlohmann_json nlohmann-json3-dev)
apotnet_require(CLI11 libcli11-dev)
apotnet_require(dnnl libdnnl-dev)
apotnet_require(OpenMP g++ COMPONENTS CXX)
if(APOTNET_TESTS)
  apotnet_require(doctest doctest-dev)
endif()
