/* CMocka with the headers it wants before it, in the order it wants them. */
#ifndef PF_TESTS_TESTING_H
#define PF_TESTS_TESTING_H

/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */

#endif
