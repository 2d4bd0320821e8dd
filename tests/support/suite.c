/* SPDX-License-Identifier: BSD-3-Clause */
#include "suite.h"

#include <stdio.h>
#include <string.h>

#include <CUnit/Basic.h>

void hv_test_row_failed(const char *row, const char *condition, const char *file, int line)
{
    fprintf(stderr, "%s:%d: row \"%s\": %s\n", file, line, row, condition);
}

static int wanted(const char *name, int argc, char **argv)
{
    for (int i = 1; i < argc; i++)
        if (strstr(name, argv[i]))
            return 1;
    return argc < 2;
}

int hv_test_main(const char *suite, const struct hv_test_case *cases, size_t count, int argc,
                 char **argv)
{
    CU_pSuite cu;
    unsigned run, failed;

    if (CU_initialize_registry() != CUE_SUCCESS)
        return 1;
    cu = CU_add_suite(suite, NULL, NULL);
    for (size_t i = 0; cu && i < count; i++)
        if (wanted(cases[i].name, argc, argv) && !CU_add_test(cu, cases[i].name, cases[i].run))
            cu = NULL;
    if (!cu) {
        fprintf(stderr, "%s: %s\n", suite, CU_get_error_msg());
        CU_cleanup_registry();
        return 1;
    }
    CU_basic_set_mode(CU_BRM_VERBOSE);
    CU_basic_run_tests();
    run = CU_get_number_of_tests_run();
    failed = CU_get_number_of_failures() + CU_get_number_of_tests_failed();
    CU_cleanup_registry();
    if (!run)
        fprintf(stderr, "%s: no test ran\n", suite);
    return run && !failed ? 0 : 1;
}
