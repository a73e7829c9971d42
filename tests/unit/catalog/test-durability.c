/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * What was acknowledged stays, and what failed leaves no trace: with every single write failing, with a full
 * file system, and with the process killed.
 */
#include "catalog-private.h"
#include "faulty-vfs.h"
#include "samples.h"
#include "suite.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

typedef struct {
  int rc, errsv;
  bool stays;
  BkErrorCode code;
} Fault;

static const Fault faults[] = {
  { SQLITE_FULL, ENOSPC, true, BK_ERROR_NO_SPACE },
  { SQLITE_FULL, ENOSPC, false, BK_ERROR_NO_SPACE },
  { SQLITE_IOERR_WRITE, EDQUOT, true, BK_ERROR_NO_SPACE },
  { SQLITE_IOERR_WRITE, EIO, false, BK_ERROR_FAILED },
  { SQLITE_IOERR_FSYNC, EIO, true, BK_ERROR_FAILED },
};

/* Job "jN", backup "bN" and checkpoint "cN" as one change. */
static gboolean
put_three (BkCatalog *catalog, unsigned n, GError **error)
{
  g_autofree char *job_id = g_strdup_printf ("j%u.", n);
  g_autofree char *backup_id = g_strdup_printf ("b%u.", n);
  g_autofree char *checkpoint_id = g_strdup_printf ("c%u.", n);
  g_autoptr (BkJobRecord) job = sample_small_job (job_id, "web01", "running");
  g_autoptr (BkBackupInfo) backup = sample_backup (backup_id, "web01", NULL, n + 1, NULL);
  g_autoptr (BkCheckpointInfo) checkpoint = sample_checkpoint (checkpoint_id, NULL, "web01", NULL);
  g_autoptr (BkCatalogChange) change = bk_catalog_begin (catalog, error);
  return change && bk_catalog_insert_job (catalog, job, error) && bk_catalog_put_backup (catalog, backup, error) &&
         bk_catalog_put_checkpoint (catalog, checkpoint, error) && bk_catalog_commit (&change, error);
}

/* How many of the three of @n are there. */
static int
count_three (BkCatalog *catalog, unsigned n)
{
  g_autofree char *query = g_strdup_printf (
      "SELECT (SELECT count (*) FROM job WHERE id = 'j%u.') + (SELECT count (*) FROM backup WHERE id = 'b%u.') + "
      "(SELECT count (*) FROM checkpoint JOIN checkpoint_disk ON sequence = checkpoint WHERE id = 'c%u.')", n, n, n);
  int64_t count = -1;
  g_autoptr (GError) error = NULL;
  ck_assert_msg (bk_sql_query_int (catalog->sql, query, &count, &error), "%s", error ? error->message : "");
  return (int)count;
}

static void
assert_sound (BkCatalog *catalog)
{
  g_autofree char *result = bk_sql_query_text (catalog->sql, "PRAGMA integrity_check", NULL);
  ck_assert_str_eq (result, "ok");
}

static void
assert_failed_as (const Fault *fault, GError *error, int n)
{
  ck_assert_msg (g_error_matches (error, BK_ERROR, (int)fault->code), "operation %d: %s", n, error->message);
  ck_assert_ptr_null (strchr (error->message, '\n'));
}

/* True when the fault came. */
static bool
change_with_fault (const char *top, const Fault *fault, int n)
{
  g_autoptr (GError) error = NULL;
  g_autofree char *folder = g_strdup_printf ("%s/%d", top, n);
  g_autoptr (BkCatalog) catalog = sample_open (folder);
  sample_add_vm (catalog, "web01");
  ck_assert (put_three (catalog, 0, NULL));
  faulty_vfs_fail_at (n, fault->rc, fault->errsv, fault->stays);
  gboolean done = put_three (catalog, 1, &error);
  bool came = faulty_vfs_has_failed ();
  if (!done)
    assert_failed_as (fault, error, n);
  ck_assert (done || came);
  ck_assert_int_eq (count_three (catalog, 0), 3);
  ck_assert_int_eq (count_three (catalog, 1), done ? 3 : 0);
  faulty_vfs_fail_at (0, 0, 0, false);
  ck_assert (put_three (catalog, 2, NULL)); /* the next one works */
  g_clear_pointer (&catalog, bk_catalog_close);
  catalog = sample_open (folder);
  ck_assert_int_eq (count_three (catalog, 0) + count_three (catalog, 2), 6);
  ck_assert_int_eq (count_three (catalog, 1), done ? 3 : 0);
  assert_sound (catalog);
  return came;
}

START_TEST (every_failed_write_undoes_the_change)
{
  faulty_vfs_register ();
  g_autofree char *top = bk_suite_folder ();
  int n = 1;
  while (change_with_fault (top, &faults[_i], n))
    n++;
  ck_assert_int_gt (n, 5);
}
END_TEST

/* After SQLite has undone the transaction by itself, the rest of it must not go in alone. */
START_TEST (nothing_slips_out_of_an_undone_change)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (BkCatalog) catalog = sample_open (NULL);
  sample_add_vm (catalog, "web01");
  g_autoptr (BkCatalogChange) change = bk_catalog_begin (catalog, &error);
  g_autoptr (BkJobRecord) job = sample_small_job ("j1", NULL, "queued");
  ck_assert (bk_catalog_insert_job (catalog, job, &error));
  ck_assert (bk_sql_exec (catalog->sql, "ROLLBACK", &error)); /* as SQLite does on a full disk */
  g_autoptr (BkJobRecord) next = sample_small_job ("j2", NULL, "queued");
  ck_assert (!bk_catalog_insert_job (catalog, next, &error));
  bk_assert_error (error, BK_ERROR_FAILED);
  g_autoptr (BkBackupInfo) backup = sample_backup ("b1", "web01", NULL, 1, NULL);
  ck_assert (!bk_catalog_put_backup (catalog, backup, &error));
  bk_assert_error (error, BK_ERROR_FAILED);
  ck_assert (!bk_catalog_commit (&change, &error));
  bk_assert_error (error, BK_ERROR_FAILED);
  ck_assert (put_three (catalog, 1, &error));
  g_autoptr (GPtrArray) jobs = bk_catalog_list_jobs (catalog, &(BkJobFilter){ 0 }, &error);
  ck_assert_uint_eq (jobs->len, 1);
}
END_TEST

/* The file may not grow any more: SQLite's own full disk. */
START_TEST (a_full_catalog_keeps_what_it_has)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (BkCatalog) catalog = sample_open (NULL);
  sample_add_vm (catalog, "web01");
  ck_assert (bk_sql_exec (catalog->sql, "PRAGMA max_page_count = 40", &error));
  unsigned n = 0;
  while (put_three (catalog, n, &error))
    n++;
  ck_assert_ptr_nonnull (strstr (error->message, "make room"));
  bk_assert_error (error, BK_ERROR_NO_SPACE);
  ck_assert_uint_gt (n, 3);
  for (unsigned i = 0; i < n; i++)
    ck_assert_int_eq (count_three (catalog, i), 3);
  ck_assert_int_eq (count_three (catalog, n), 0);
  ck_assert (bk_sql_exec (catalog->sql, "PRAGMA max_page_count = 4000", &error));
  ck_assert (put_three (catalog, n, &error));
}
END_TEST

START_TEST (returns_when_it_is_on_stable_storage)
{
  faulty_vfs_register ();
  g_autoptr (GError) error = NULL;
  g_autofree char *folder = bk_suite_folder ();
  g_autoptr (BkCatalog) catalog = sample_open (folder);
  ck_assert_int_eq (faulty_vfs_unsynced (), 0);
  sample_add_vm (catalog, "web01");
  ck_assert_int_eq (faulty_vfs_unsynced (), 0);
  ck_assert (put_three (catalog, 1, &error));
  ck_assert_int_eq (faulty_vfs_unsynced (), 0);
  ck_assert (bk_catalog_remove_backup (catalog, "b1.", &error));
  ck_assert_int_eq (faulty_vfs_unsynced (), 0);
}
END_TEST

/* --- opening with faults --- */

static BkCatalog *
open_next_version (const char *folder, GError **error)
{
  static const BkMigration next = { "9999-next.sql", "ALTER TABLE vm ADD COLUMN note TEXT; CREATE TABLE t (x);" };
  g_autofree BkMigration *migrations = bk_migrations_built_in ();
  unsigned count = 0;
  while (migrations[count].name)
    count++;
  migrations = g_renew (BkMigration, migrations, count + 2);
  migrations[count] = next;
  migrations[count + 1] = (BkMigration){ NULL, NULL };
  return bk_catalog_open_with (folder, migrations, error);
}

static bool
open_with_fault (const char *top, const Fault *fault, int n, bool existing)
{
  g_autoptr (GError) error = NULL;
  g_autofree char *folder = g_strdup_printf ("%s/%d", top, n);
  g_autoptr (BkCatalog) catalog = existing ? sample_open (folder) : NULL;
  if (existing) {
    sample_add_vm (catalog, "web01");
    ck_assert (put_three (catalog, 0, NULL));
    g_clear_pointer (&catalog, bk_catalog_close);
  }
  faulty_vfs_fail_at (n, fault->rc, fault->errsv, fault->stays);
  catalog = open_next_version (folder, &error);
  bool came = faulty_vfs_has_failed ();
  ck_assert (catalog != NULL || came);
  if (catalog == NULL)
    assert_failed_as (fault, error, n);
  g_clear_pointer (&catalog, bk_catalog_close);
  faulty_vfs_fail_at (0, 0, 0, false);
  g_autoptr (BkCatalog) again = open_next_version (folder, NULL);
  ck_assert_ptr_nonnull (again);
  ck_assert_int_eq (count_three (again, 0), existing ? 3 : 0);
  assert_sound (again);
  return came;
}

START_TEST (every_failed_write_of_a_migration_undoes_it)
{
  faulty_vfs_register ();
  g_autofree char *top = bk_suite_folder ();
  int n = 1;
  while (open_with_fault (top, &faults[_i], n, true))
    n++;
  ck_assert_int_gt (n, 5);
}
END_TEST

START_TEST (a_failed_first_start_can_be_repeated)
{
  faulty_vfs_register ();
  g_autofree char *top = bk_suite_folder ();
  int n = 1;
  while (open_with_fault (top, &faults[_i], n, false))
    n++;
  ck_assert_int_gt (n, 5);
}
END_TEST

/* --- kill -9 --- */

static void
write_until_killed (const char *folder, unsigned n, int acknowledge)
{
  prctl (PR_SET_PDEATHSIG, SIGKILL);
  g_autoptr (GError) error = NULL;
  g_autoptr (BkCatalog) catalog = bk_catalog_open (folder, &error);
  while (catalog && put_three (catalog, n, &error) && write (acknowledge, &n, sizeof n) == (ssize_t)sizeof n)
    n++;
  _exit (1);
}

/* Returns the first number that was not acknowledged. */
static unsigned
kill_a_writer (const char *folder, unsigned first, unsigned changes)
{
  int pipes[2];
  ck_assert_int_eq (pipe (pipes), 0);
  pid_t child = fork ();
  ck_assert_int_ge (child, 0);
  if (child == 0)
    write_until_killed (folder, first, pipes[1]);
  close (pipes[1]);
  unsigned n = first, got = 0;
  while (n < first + changes && read (pipes[0], &got, sizeof got) == (ssize_t)sizeof got)
    n = got + 1;
  ck_assert_int_eq (kill (child, SIGKILL), 0);
  while (read (pipes[0], &got, sizeof got) == (ssize_t)sizeof got)
    n = got + 1;
  close (pipes[0]);
  int status = 0;
  ck_assert_int_eq (waitpid (child, &status, 0), child);
  ck_assert (WIFSIGNALED (status) && WTERMSIG (status) == SIGKILL);
  return n;
}

START_TEST (keeps_all_that_was_acknowledged_before_a_kill)
{
  g_autofree char *folder = bk_suite_folder ();
  {
    g_autoptr (BkCatalog) catalog = sample_open (folder);
    sample_add_vm (catalog, "web01");
  }
  unsigned first = 0;
  for (unsigned round = 0; round < 6; round++) {
    unsigned end = kill_a_writer (folder, first, 1 + round * round * 4); /* up to some checkpoints of the log */
    ck_assert_uint_gt (end, first);
    g_autoptr (BkCatalog) catalog = sample_open (folder);
    for (unsigned n = 0; n < end; n++)
      ck_assert_msg (count_three (catalog, n) == 3, "change %u of %u is lost or torn", n, end);
    int more = count_three (catalog, end); /* done, but not yet acknowledged */
    ck_assert_msg (more == 0 || more == 3, "change %u is torn", end);
    ck_assert_int_eq (count_three (catalog, end + 1), 0);
    assert_sound (catalog);
    first = more == 3 ? end + 1 : end;
  }
}
END_TEST

int
main (void)
{
  Suite *suite = suite_create ("catalog durability");
  TCase *tcase = tcase_create ("catalog durability");
  tcase_set_timeout (tcase, 120);
  const int count = G_N_ELEMENTS (faults);
  tcase_add_loop_test (tcase, every_failed_write_undoes_the_change, 0, count);
  tcase_add_loop_test (tcase, every_failed_write_of_a_migration_undoes_it, 2, count);
  tcase_add_loop_test (tcase, a_failed_first_start_can_be_repeated, 2, count);
  tcase_add_test (tcase, nothing_slips_out_of_an_undone_change);
  tcase_add_test (tcase, a_full_catalog_keeps_what_it_has);
  tcase_add_test (tcase, returns_when_it_is_on_stable_storage);
  tcase_add_test (tcase, keeps_all_that_was_acknowledged_before_a_kill);
  suite_add_tcase (suite, tcase);
  SRunner *runner = srunner_create (suite);
  srunner_run_all (runner, CK_NORMAL);
  int failed = srunner_ntests_failed (runner);
  srunner_free (runner);
  return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
