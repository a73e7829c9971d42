/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "catalog-private.h"
#include "samples.h"
#include "suite.h"

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char *
path_in (const char *folder, const char *name)
{
  return g_build_filename (folder, name, NULL);
}

static void
assert_refused (const char *folder, BkErrorCode code, const char *words)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (BkCatalog) catalog = bk_catalog_open (folder, &error);
  ck_assert_ptr_null (catalog);
  ck_assert_msg (error && strstr (error->message, words), "no '%s' in: %s", words, error ? error->message : "no error");
  ck_assert_ptr_null (strchr (error->message, '\n'));
  bk_assert_error (error, code);
}

static bool
exists (const char *folder, const char *name)
{
  g_autofree char *path = path_in (folder, name);
  return access (path, F_OK) == 0;
}

/* A closed catalog with a row in each table. */
static void
fill_catalog (const char *folder)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (BkCatalog) catalog = sample_open (folder);
  sample_add_vm (catalog, "web01");
  sample_add_repository (catalog, "default");
  g_autoptr (BkJobRecord) job = sample_small_job ("j1", "web01", "running");
  g_autoptr (BkBackupInfo) backup = sample_backup ("b1", "web01", "default", 5, "b0");
  g_autoptr (BkCheckpointInfo) checkpoint = sample_checkpoint ("c1", "before", "web01", NULL);
  ck_assert (bk_catalog_insert_job (catalog, job, &error));
  ck_assert (bk_catalog_put_backup (catalog, backup, &error));
  ck_assert (bk_catalog_put_checkpoint (catalog, checkpoint, &error));
}

static void
assert_filled (BkCatalog *catalog)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (BkJobRecord) job = bk_catalog_get_job (catalog, "j1", &error);
  bk_assert_no_error (error);
  g_autoptr (BkBackupInfo) backup = bk_catalog_get_backup (catalog, "b1", &error);
  bk_assert_no_error (error);
  g_autoptr (BkCheckpointInfo) checkpoint = bk_catalog_get_checkpoint (catalog, "web01", "before", &error);
  bk_assert_no_error (error);
  ck_assert_uint_eq (checkpoint->disks->len, 1);
  g_auto (GStrv) children = bk_catalog_children_of_backup (catalog, "b0", &error);
  bk_assert_no_error (error);
  ck_assert_str_eq (children[0], "b1");
}

static void
run_sql (const char *folder, const char *script)
{
  g_autofree char *path = path_in (folder, "catalog.sqlite");
  sqlite3 *handle = NULL;
  ck_assert_int_eq (sqlite3_open (path, &handle), SQLITE_OK);
  ck_assert_msg (sqlite3_exec (handle, script, NULL, NULL, NULL) == SQLITE_OK, "%s", sqlite3_errmsg (handle));
  ck_assert_int_eq (sqlite3_close (handle), SQLITE_OK);
}

/* --- the state directory --- */

START_TEST (makes_a_private_state_directory)
{
  g_autofree char *top = bk_suite_folder ();
  g_autofree char *folder = path_in (top, "a/b/state");
  g_autoptr (BkCatalog) catalog = sample_open (folder);
  const char *const names[] = { "", "lock", "catalog.sqlite", "catalog.sqlite-wal" };
  for (size_t i = 0; i < G_N_ELEMENTS (names); i++) {
    g_autofree char *path = path_in (folder, names[i]);
    struct stat st;
    ck_assert_int_eq (stat (path, &st), 0);
    ck_assert_msg ((st.st_mode & 0777) == (S_ISDIR (st.st_mode) ? 0700 : 0600), "%s has mode %o", path, st.st_mode);
  }
}
END_TEST

START_TEST (refuses_a_file_as_state_directory)
{
  g_autofree char *top = bk_suite_folder ();
  g_autofree char *file = path_in (top, "file");
  g_autofree char *below = path_in (file, "state");
  ck_assert (g_file_set_contents (file, "x", 1, NULL));
  assert_refused (file, BK_ERROR_INVALID, "is not a folder");
  assert_refused (below, BK_ERROR_INVALID, "is not a folder");
  g_autofree char *other = bk_suite_folder ();
  g_autofree char *catalog = path_in (other, "catalog.sqlite");
  ck_assert_int_eq (mkdir (catalog, 0700), 0);
  assert_refused (other, BK_ERROR_FAILED, catalog);
}
END_TEST

/* Runs the test's body in a child process that is not root, for whom permissions mean something. */
static void
as_ordinary_user (void (*body) (const char *folder), const char *folder)
{
  pid_t child = fork ();
  ck_assert_int_ge (child, 0);
  if (child == 0) {
    prctl (PR_SET_PDEATHSIG, SIGKILL);
    if (geteuid () == 0 && (setgid (65534) != 0 || setuid (65534) != 0))
      _exit (2);
    body (folder);
    _exit (0);
  }
  int status = 0;
  ck_assert_int_eq (waitpid (child, &status, 0), child);
  ck_assert_int_eq (status, 0);
}

static void
try_denied (const char *folder)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (BkCatalog) catalog = bk_catalog_open (folder, &error);
  bool right = catalog == NULL && g_error_matches (error, BK_ERROR, BK_ERROR_DENIED) &&
               strstr (error->message, folder) && strstr (error->message, "--state-dir");
  if (!right)
    _exit (3);
}

START_TEST (refuses_a_state_directory_that_it_may_not_write)
{
  g_autofree char *folder = bk_suite_folder ();
  g_autofree char *missing = path_in (folder, "state");
  ck_assert_int_eq (chmod (folder, 0555), 0);
  as_ordinary_user (try_denied, folder);
  as_ordinary_user (try_denied, missing);
  ck_assert_int_eq (chmod (folder, 0700), 0); /* or else an ordinary user could not clean up */
}
END_TEST

static void
try_denied_file (const char *folder)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (BkCatalog) catalog = bk_catalog_open (folder, &error);
  bool right = catalog == NULL && g_error_matches (error, BK_ERROR, BK_ERROR_DENIED) &&
               strstr (error->message, "catalog.sqlite");
  if (!right)
    _exit (3);
}

START_TEST (refuses_a_catalog_that_it_may_not_write)
{
  g_autofree char *folder = bk_suite_folder ();
  g_autofree char *path = path_in (folder, "catalog.sqlite");
  fill_catalog (folder);
  g_autofree char *lock = path_in (folder, "lock");
  ck_assert_int_eq (chmod (folder, 0777) | chmod (lock, 0666) | chmod (path, 0444), 0);
  as_ordinary_user (try_denied_file, folder);
}
END_TEST

/* --- the lock --- */

START_TEST (names_the_process_that_holds_the_lock)
{
  g_autofree char *folder = bk_suite_folder ();
  int ready[2];
  ck_assert_int_eq (pipe (ready), 0);
  pid_t child = fork ();
  ck_assert_int_ge (child, 0);
  if (child == 0) {
    prctl (PR_SET_PDEATHSIG, SIGKILL);
    g_autoptr (BkCatalog) catalog = bk_catalog_open (folder, NULL);
    if (write (ready[1], catalog ? "y" : "n", 1) == 1)
      pause ();
    _exit (1);
  }
  char answer = 0;
  ck_assert_int_eq (read (ready[0], &answer, 1), 1);
  ck_assert_int_eq (answer, 'y');
  g_autofree char *words = g_strdup_printf ("in use by process %d:", (int)child);
  assert_refused (folder, BK_ERROR_CONFLICT, words);
  ck_assert_int_eq (kill (child, SIGKILL), 0);
  ck_assert_int_eq (waitpid (child, NULL, 0), child);
  g_autoptr (BkCatalog) catalog = sample_open (folder); /* nothing is left of a dead one's lock */
}
END_TEST

START_TEST (locks_within_one_process_too)
{
  g_autofree char *folder = bk_suite_folder ();
  g_autoptr (BkCatalog) catalog = sample_open (folder);
  g_autofree char *words = g_strdup_printf ("process %d:", (int)getpid ());
  assert_refused (folder, BK_ERROR_CONFLICT, words);
  g_clear_pointer (&catalog, bk_catalog_close);
  catalog = sample_open (folder);
}
END_TEST

/* --- what is in the file --- */

START_TEST (keeps_its_instance)
{
  g_autofree char *folder = bk_suite_folder ();
  g_autoptr (BkCatalog) catalog = sample_open (folder);
  g_autofree char *instance = g_strdup (bk_catalog_instance (catalog));
  ck_assert_msg (g_regex_match_simple ("^[0-9a-f]{6}$", instance, 0, 0), "%s", instance);
  g_clear_pointer (&catalog, bk_catalog_close);
  catalog = sample_open (folder);
  ck_assert_str_eq (bk_catalog_instance (catalog), instance);
  g_autoptr (BkCatalog) other = sample_open (NULL);
  g_autoptr (BkCatalog) third = sample_open (NULL);
  ck_assert (strcmp (bk_catalog_instance (other), instance) != 0 ||
             strcmp (bk_catalog_instance (third), instance) != 0);
}
END_TEST

START_TEST (never_gives_a_number_twice)
{
  g_autoptr (GError) error = NULL;
  g_autofree char *folder = bk_suite_folder ();
  fill_catalog (folder);
  run_sql (folder, "DELETE FROM job");
  g_autoptr (BkCatalog) catalog = sample_open (folder);
  g_autoptr (BkJobRecord) job = sample_small_job ("j1", NULL, "queued");
  ck_assert (bk_catalog_insert_job (catalog, job, &error));
  ck_assert_uint_eq (job->number, 2);
}
END_TEST

START_TEST (refuses_what_is_no_catalog)
{
  g_autofree char *folder = bk_suite_folder ();
  g_autofree char *path = path_in (folder, "catalog.sqlite");
  g_autofree char *garbage = g_strnfill (5000, 'x');
  ck_assert (g_file_set_contents (path, garbage, 5000, NULL));
  assert_refused (folder, BK_ERROR_CORRUPT, path);
  g_autofree char *text = NULL;
  ck_assert (g_file_get_contents (path, &text, NULL, NULL));
  ck_assert_str_eq (text, garbage);
  ck_assert_int_eq (unlink (path), 0);
  run_sql (folder, "CREATE TABLE cookies (name)");
  assert_refused (folder, BK_ERROR_CORRUPT, "not a catalog of backupd");
  ck_assert_int_eq (unlink (path), 0);
  ck_assert (g_file_set_contents (path, "", 0, NULL)); /* as a crash at the first start may leave it */
  g_autoptr (BkCatalog) catalog = sample_open (folder);
}
END_TEST

START_TEST (refuses_a_damaged_page)
{
  g_autofree char *folder = bk_suite_folder ();
  g_autofree char *path = path_in (folder, "catalog.sqlite");
  g_autofree char *whole = NULL;
  g_autofree char *garbage = g_strnfill (4096, '\xa5');
  size_t length = 0;
  fill_catalog (folder);
  ck_assert (g_file_get_contents (path, &whole, &length, NULL));
  ck_assert_uint_ge (length / 4096, 20);
  for (size_t page = 0; page < length / 4096; page++) {
    g_autofree char *damaged = g_memdup2 (whole, length);
    memcpy (damaged + page * 4096 + (page == 0 ? 100 : 0), garbage, page == 0 ? 3996 : 4096);
    ck_assert (g_file_set_contents (path, damaged, (gssize)length, NULL));
    assert_refused (folder, BK_ERROR_CORRUPT, "found again in their repositories");
  }
  ck_assert (g_file_set_contents (path, whole, (gssize)length / 2, NULL));
  assert_refused (folder, BK_ERROR_CORRUPT, path);
  ck_assert (g_file_set_contents (path, whole, (gssize)length, NULL));
  g_autoptr (BkCatalog) catalog = sample_open (folder);
  assert_filled (catalog);
}
END_TEST

START_TEST (tells_which_row_cannot_be_read)
{
  g_autoptr (GError) error = NULL;
  g_autofree char *folder = bk_suite_folder ();
  fill_catalog (folder);
  run_sql (folder, "UPDATE job SET info = '{\"id\":'; UPDATE backup SET info = '{}'; UPDATE vm SET classes = '[]'");
  g_autoptr (BkCatalog) catalog = sample_open (folder);
  ck_assert_ptr_null (bk_catalog_get_job (catalog, "j1", &error));
  ck_assert_ptr_nonnull (strstr (error->message, "job 'j1' cannot be read"));
  bk_assert_error (error, BK_ERROR_CORRUPT);
  ck_assert_ptr_null (bk_catalog_list_jobs (catalog, &(BkJobFilter){ 0 }, &error));
  bk_assert_error (error, BK_ERROR_CORRUPT);
  ck_assert_ptr_null (bk_catalog_list_backups (catalog, NULL, NULL, &error));
  ck_assert_ptr_nonnull (strstr (error->message, "backup 'b1' cannot be read"));
  bk_assert_error (error, BK_ERROR_CORRUPT);
  ck_assert_ptr_null (bk_catalog_list_vms (catalog, &error));
  bk_assert_error (error, BK_ERROR_CORRUPT);
}
END_TEST

/* --- versions --- */

/* Of the last built-in migration, and what follows it. */
#define NEWEST 4
#define SECOND "0005"
#define THIRD "0006"

/* The built-in migrations and the given ones behind them. (transfer container) */
static BkMigration *
migrations_with (const char *second, const char *third)
{
  g_autofree BkMigration *built_in = bk_migrations_built_in ();
  BkMigration *migrations = g_new0 (BkMigration, NEWEST + 3);
  ck_assert (built_in[NEWEST - 1].name && built_in[NEWEST].name == NULL); /* or else the numbers above are wrong */
  memcpy (migrations, built_in, NEWEST * sizeof *migrations);
  migrations[NEWEST] = (BkMigration){ SECOND "-second.sql", second };
  migrations[NEWEST + 1] = (BkMigration){ third ? THIRD "-third.sql" : NULL, third };
  return migrations;
}

static int64_t
version_of (BkCatalog *catalog)
{
  int64_t version = 0;
  ck_assert (bk_sql_query_int (catalog->sql, "PRAGMA user_version", &version, NULL));
  return version;
}

static void
assert_copy_is_of_newest (const char *folder, const char *copy)
{
  g_autofree char *from = path_in (folder, copy);
  g_autofree char *other = bk_suite_folder ();
  g_autofree char *to = path_in (other, "catalog.sqlite");
  g_autofree char *data = NULL;
  size_t length = 0;
  ck_assert (g_file_get_contents (from, &data, &length, NULL));
  ck_assert (g_file_set_contents (to, data, (gssize)length, NULL));
  g_autoptr (BkCatalog) catalog = sample_open (other);
  ck_assert_int_eq (version_of (catalog), NEWEST);
  assert_filled (catalog);
}

#define ADD_NOTE "ALTER TABLE vm ADD COLUMN note TEXT NOT NULL DEFAULT 'none';"
/* How SQLite's manual changes a column; with foreign keys on it would take all checkpoints along. */
#define REBUILD_VM                                                                                           \
  "CREATE TABLE vm2 (name TEXT PRIMARY KEY NOT NULL, qmp TEXT, agent TEXT, classes TEXT NOT NULL, "         \
  "added_at INTEGER NOT NULL, recorded TEXT, libvirt_uri TEXT, domain TEXT, uuid TEXT, priority INTEGER) STRICT;"  \
  "INSERT INTO vm2 SELECT name, qmp, agent, classes, added_at, recorded, libvirt_uri, domain, uuid, 5 FROM vm;"     \
  "DROP TABLE vm; ALTER TABLE vm2 RENAME TO vm;"

START_TEST (makes_a_new_catalog_without_a_copy)
{
  g_autofree char *folder = bk_suite_folder ();
  g_autofree BkMigration *migrations = migrations_with (ADD_NOTE, NULL);
  g_autoptr (BkCatalog) catalog = bk_catalog_open_with (folder, migrations, NULL);
  ck_assert_int_eq (version_of (catalog), NEWEST + 1);
  ck_assert (!exists (folder, "catalog.sqlite.before-0001"));
  ck_assert (!exists (folder, "catalog.sqlite.before-0002"));
  ck_assert (!exists (folder, "catalog.sqlite.before-" SECOND));
}
END_TEST

START_TEST (migrates_a_copy_kept)
{
  g_autoptr (GError) error = NULL;
  g_autofree char *folder = bk_suite_folder ();
  g_autofree BkMigration *migrations = migrations_with (ADD_NOTE, REBUILD_VM);
  fill_catalog (folder);
  g_autoptr (BkCatalog) catalog = bk_catalog_open_with (folder, migrations, &error);
  bk_assert_no_error (error);
  ck_assert_int_eq (version_of (catalog), NEWEST + 2);
  assert_filled (catalog);
  int64_t priority = 0;
  ck_assert (bk_sql_query_int (catalog->sql, "SELECT priority FROM vm", &priority, NULL));
  ck_assert_int_eq (priority, 5);
  assert_copy_is_of_newest (folder, "catalog.sqlite.before-" SECOND);
  ck_assert (!exists (folder, "catalog.sqlite.before-" THIRD));
  ck_assert (!exists (folder, "catalog.sqlite.before-" SECOND ".partial"));
  ck_assert (bk_catalog_remove_vm (catalog, "web01", &error)); /* foreign keys are on again */
  g_autoptr (GPtrArray) checkpoints = bk_catalog_list_checkpoints (catalog, NULL, &error);
  ck_assert_uint_eq (checkpoints->len, 0);
}
END_TEST

static void
assert_migration_fails (const char *folder, const char *script, const char *words)
{
  g_autoptr (GError) error = NULL;
  g_autofree BkMigration *migrations = migrations_with (script, NULL);
  g_autofree char *copy = path_in (folder, "catalog.sqlite.before-" SECOND);
  ck_assert_ptr_null (bk_catalog_open_with (folder, migrations, &error));
  ck_assert_msg (strstr (error->message, copy) && strstr (error->message, SECOND "-second.sql") &&
                 strstr (error->message, words), "%s", error->message);
  bk_assert_error (error, BK_ERROR_FAILED);
  assert_copy_is_of_newest (folder, "catalog.sqlite.before-" SECOND);
  g_autoptr (BkCatalog) catalog = sample_open (folder);
  ck_assert_int_eq (version_of (catalog), NEWEST);
  assert_filled (catalog);
}

START_TEST (undoes_a_failed_migration)
{
  g_autoptr (GError) error = NULL;
  g_autofree char *folder = bk_suite_folder ();
  fill_catalog (folder);
  assert_migration_fails (folder, ADD_NOTE "DELETE FROM job; INSERT INTO nowhere VALUES (1);", "no such table");
  assert_migration_fails (folder, ADD_NOTE "DELETE FROM vm;", "'checkpoint'");
  g_autofree BkMigration *mended = migrations_with (ADD_NOTE, NULL);
  g_autoptr (BkCatalog) catalog = bk_catalog_open_with (folder, mended, &error);
  bk_assert_no_error (error);
  assert_filled (catalog);
}
END_TEST

START_TEST (migrates_what_is_still_in_the_log)
{
  g_autofree char *folder = bk_suite_folder ();
  pid_t child = fork ();
  if (child == 0) { /* ends without a close: all it wrote is in the WAL */
    g_autoptr (GError) error = NULL;
    g_autoptr (BkCatalog) catalog = bk_catalog_open (folder, &error);
    sample_add_vm (catalog, "web01");
    _exit (0);
  }
  ck_assert_int_eq (waitpid (child, NULL, 0), child);
  g_autofree BkMigration *migrations = migrations_with (ADD_NOTE, NULL);
  g_autoptr (BkCatalog) catalog = bk_catalog_open_with (folder, migrations, NULL);
  ck_assert_ptr_nonnull (catalog);
  g_autofree char *copy = path_in (folder, "catalog.sqlite.before-" SECOND);
  g_autoptr (BkSql) sql = bk_sql_open (copy, NULL);
  g_autofree char *name = bk_sql_query_text (sql, "SELECT name FROM vm", NULL);
  ck_assert_str_eq (name, "web01");
}
END_TEST

START_TEST (refuses_to_migrate_without_a_copy)
{
  g_autoptr (GError) error = NULL;
  g_autofree char *folder = bk_suite_folder ();
  g_autofree BkMigration *migrations = migrations_with (ADD_NOTE, NULL);
  g_autofree char *in_the_way = path_in (folder, "catalog.sqlite.before-" SECOND);
  fill_catalog (folder);
  ck_assert_int_eq (mkdir (in_the_way, 0700), 0);
  ck_assert_ptr_null (bk_catalog_open_with (folder, migrations, &error));
  ck_assert_ptr_nonnull (strstr (error->message, "cannot be copied"));
  bk_assert_error (error, BK_ERROR_FAILED);
  ck_assert (!exists (folder, "catalog.sqlite.before-" SECOND ".partial"));
  g_autoptr (BkCatalog) catalog = sample_open (folder);
  ck_assert_int_eq (version_of (catalog), NEWEST);
}
END_TEST

START_TEST (leaves_a_newer_catalog_alone)
{
  g_autofree char *folder = bk_suite_folder ();
  g_autofree char *path = path_in (folder, "catalog.sqlite");
  g_autofree char *before = NULL;
  g_autofree char *after = NULL;
  size_t length = 0, length_after = 0;
  fill_catalog (folder);
  run_sql (folder, "PRAGMA user_version = 7; PRAGMA journal_mode = DELETE");
  ck_assert (g_file_get_contents (path, &before, &length, NULL));
  assert_refused (folder, BK_ERROR_FAILED, "has version 7, and this backupd knows versions up to " G_STRINGIFY (NEWEST) ":");
  ck_assert (g_file_get_contents (path, &after, &length_after, NULL));
  ck_assert (length == length_after && memcmp (before, after, length) == 0);
  g_autofree char *copy = path_in (folder, "catalog.sqlite.before-" SECOND);
  ck_assert (g_file_set_contents (copy, "", 0, NULL));
  assert_refused (folder, BK_ERROR_FAILED, copy);
}
END_TEST

int
main (void)
{
  const TTest *const tests[] = {
    makes_a_private_state_directory, refuses_a_file_as_state_directory,
    refuses_a_state_directory_that_it_may_not_write, refuses_a_catalog_that_it_may_not_write,
    names_the_process_that_holds_the_lock, locks_within_one_process_too, keeps_its_instance,
    never_gives_a_number_twice, refuses_what_is_no_catalog, refuses_a_damaged_page, tells_which_row_cannot_be_read,
    makes_a_new_catalog_without_a_copy, migrates_a_copy_kept, undoes_a_failed_migration,
    migrates_what_is_still_in_the_log, refuses_to_migrate_without_a_copy, leaves_a_newer_catalog_alone, NULL
  };
  return bk_suite_run ("catalog open", tests);
}
