# CMake reads this when it configures llama.cpp. The bindings build llama.cpp's `common` library
# whatever features are chosen. amend doesn't use it, and it takes more than half of the
# time that llama.cpp takes to compile.
set(LLAMA_BUILD_COMMON OFF)
