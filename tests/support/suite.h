/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One CUnit program per module: a table of cases and hv_test_main().
 *
 *   static const struct hv_test_case cases[] = {{"empty ring", test_ring_empty}, ...};
 *   int main(int argc, char **argv) { return hv_test_main("ring", cases, HV_TEST_COUNT(cases), argc, argv); }
 *
 * With arguments only the cases whose names contain one of them run.  Exit: 0 all passed, 1 failed or none ran.
 */
#ifndef HV_TEST_SUITE_H
#define HV_TEST_SUITE_H

#include <stddef.h>

#include <CUnit/CUnit.h>

struct hv_test_case {
    const char *name;
    void (*run)(void);
};

#define HV_TEST_COUNT(cases) (sizeof(cases) / sizeof((cases)[0]))

int hv_test_main(const char *suite, const struct hv_test_case *cases, size_t count, int argc,
                 char **argv);

/** Table-driven checks: on failure the row's name is printed too. */
#define HV_CHECK_ROW(row_name, condition)                                                          \
    do {                                                                                           \
        int hv_ok_ = !!(condition);                                                                \
        if (!hv_ok_)                                                                               \
            hv_test_row_failed(row_name, #condition, __FILE__, __LINE__);                          \
        CU_ASSERT(hv_ok_);                                                                         \
    } while (0)
void hv_test_row_failed(const char *row, const char *condition, const char *file, int line);

#endif
