/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "suite.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int
bk_suite_run (const char *name, const TTest *const *tests)
{
  Suite *suite = suite_create (name);
  TCase *tcase = tcase_create (name);
  tcase_set_timeout (tcase, 60);
  for (; *tests; tests++)
    tcase_add_test (tcase, *tests);
  suite_add_tcase (suite, tcase);
  SRunner *runner = srunner_create (suite);
  srunner_run_all (runner, CK_NORMAL);
  int failed = srunner_ntests_failed (runner);
  srunner_free (runner);
  return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

static char *folders[16];
static pid_t owner;

static int
remove_one (const char *path, const struct stat *st G_GNUC_UNUSED, int type G_GNUC_UNUSED, struct FTW *ftw G_GNUC_UNUSED)
{
  return remove (path);
}

static void
remove_folders (void)
{
  for (size_t i = 0; i < G_N_ELEMENTS (folders) && folders[i] && getpid () == owner; i++) {
    nftw (folders[i], remove_one, 16, FTW_DEPTH | FTW_PHYS);
    g_free (folders[i]);
  }
}

char *
bk_suite_folder (void)
{
  if (owner != getpid ()) {
    owner = getpid ();
    for (size_t i = 0; i < G_N_ELEMENTS (folders); i++)
      folders[i] = NULL;
    atexit (remove_folders);
  }
  size_t i = 0;
  while (folders[i])
    g_assert (++i < G_N_ELEMENTS (folders));
  folders[i] = g_dir_make_tmp ("backupd-test-XXXXXX", NULL);
  g_assert (folders[i] != NULL);
  return g_strdup (folders[i]);
}
