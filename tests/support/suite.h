/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A test program: name it, list its tests, run them. Check forks for each test, so that a crash is one
 * failure; CK_FORK=no for a debugger.
 */
#pragma once

#include <check.h>
#include <glib.h>

/* Runs @tests (NULL-terminated), 60 s each, and returns main's status. */
int bk_suite_run (const char *name, const TTest *const *tests);

/* A new temporary folder, removed with all in it at the end of the process that made it. (transfer full) */
char *bk_suite_folder (void);

/* Fails with the message when @error is set. */
#define bk_assert_no_error(error) ck_assert_msg ((error) == NULL, "%s", (error) ? (error)->message : "")
/* Fails unless @error is BK_ERROR with @wanted; frees and clears it. */
#define bk_assert_error(error, wanted)                                                                       \
  do {                                                                                                       \
    ck_assert_msg ((error) != NULL, "no error where " #wanted " was expected");                             \
    ck_assert_msg (g_error_matches ((error), BK_ERROR, (wanted)), "%s: %s", #wanted, (error)->message);     \
    g_clear_error (&(error));                                                                                \
  } while (0)
