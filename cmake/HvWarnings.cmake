# SPDX-License-Identifier: BSD-3-Clause
add_library(hv_warnings INTERFACE)
target_compile_options(hv_warnings INTERFACE
  -Wall -Wextra -Wshadow -Wconversion -Wsign-conversion -Wmissing-prototypes -Wstrict-prototypes
  -Wold-style-definition -Wpointer-arith -Wcast-qual -Wwrite-strings -Wvla -Wundef -Wformat=2
  $<$<BOOL:${HV_WERROR}>:-Werror>)
