# Finds the headers of cuDNN 9 and the folder of its library; the library itself is opened at run time, never linked.
# Layouts: the system's (/usr), the CUDA toolkit's, and pip's (site-packages/nvidia/cudnn, which has only libcudnn.so.9).
# CUDNN_ROOT names a folder to look in first. Sets CUDNN_FOUND, CUDNN_INCLUDE_DIR, CUDNN_LIBRARY, CUDNN_VERSION.
file(GLOB pip_folders
     $ENV{VIRTUAL_ENV}/lib/python3*/site-packages/nvidia/cudnn
     $ENV{CONDA_PREFIX}/lib/python3*/site-packages/nvidia/cudnn
     /usr/local/lib/python3*/dist-packages/nvidia/cudnn
     /usr/lib/python3*/dist-packages/nvidia/cudnn)
set(cudnn_hints ${APOTNET_CUDA_TOOLKIT} ${pip_folders})
find_path(CUDNN_INCLUDE_DIR cudnn_graph.h HINTS ${cudnn_hints} PATH_SUFFIXES include)
find_library(CUDNN_LIBRARY NAMES libcudnn.so.9 cudnn HINTS ${cudnn_hints} PATH_SUFFIXES lib lib64)
set(CUDNN_VERSION "")
if(CUDNN_INCLUDE_DIR)
  file(STRINGS ${CUDNN_INCLUDE_DIR}/cudnn_version.h version_lines REGEX "#define CUDNN_(MAJOR|MINOR|PATCHLEVEL) +[0-9]+")
  string(REGEX REPLACE "[^;0-9]+" "" CUDNN_VERSION "${version_lines}")
  string(REPLACE ";" "." CUDNN_VERSION "${CUDNN_VERSION}")
endif()
include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(CUDNN REQUIRED_VARS CUDNN_INCLUDE_DIR VERSION_VAR CUDNN_VERSION)
mark_as_advanced(CUDNN_INCLUDE_DIR CUDNN_LIBRARY)
