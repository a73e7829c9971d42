/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The n-th operation on files fails, or is the last one of the process, for each n of a backup, a deletion and a cleaning;
 * and bytes that were stored are changed, cut and lost.
 */
#include "repository-scene.h"

#include "fsio.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define SIZE (12 * CHUNK + 100)

static uint8_t *first, *second;
static bool touched[13];

static void
start (void)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (GRand) rand = g_rand_new_with_seed (4);
  scene_start (NULL);
  first = scene_disk (rand, SIZE);
  ck_assert (scene_backup ("A", NULL, first, SIZE, NULL, &error));
  second = g_memdup2 (first, SIZE);
  scene_change (rand, second, SIZE, touched);
  touched[3] = true;
  second[3 * CHUNK] ^= 0x55;
}

static void
stop (void)
{
  scene_stop ();
  g_clear_pointer (&first, g_free);
  g_clear_pointer (&second, g_free);
}

/* --- what is tried --- */

static gboolean
try_backup (GError **error)
{
  return scene_backup ("B", "A", second, SIZE, touched, error);
}

static gboolean
try_delete (GError **error)
{
  return bk_repository_delete (scene_repository, "web01", "A", error);
}

static gboolean
try_gc (GError **error)
{
  BkRepositoryGc result;
  return bk_repository_gc (scene_repository, 0, FALSE, NULL, NULL, NULL, &result, error);
}

typedef gboolean (*Try) (GError **error);

static void
reopen (void)
{
  g_clear_pointer (&scene_repository, bk_repository_unref);
  scene_open (NULL, BK_REPOSITORY_WRITE);
}

static void
check_nothing_is_left (void)
{
  g_autoptr (GError) error = NULL;
  ck_assert_msg (try_gc (&error), "%s", error ? error->message : "");
  g_autoptr (GPtrArray) hidden = scene_files ("packs", true);
  ck_assert_msg (hidden->len == 0, "'%s' is left", hidden->len ? (char *)hidden->pdata[0] : "");
}

/* A is whole where it is; B is whole or not there; the next backup works. */
static void
check_after (bool has_first)
{
  g_autoptr (GError) error = NULL;
  if (has_first)
    scene_check ("A", first, SIZE);
  if (bk_repository_has (scene_repository, "web01", "B"))
    scene_check ("B", second, SIZE);
  ck_assert_msg (scene_backup ("C", has_first ? "A" : NULL, second, SIZE, has_first ? touched : NULL, &error), "%s", error ? error->message : "");
  scene_check ("C", second, SIZE);
  g_autoptr (BkRepositoryVerify) verify = bk_repository_verify (scene_repository, NULL, NULL, 1, NULL, NULL, NULL, NULL, &error);
  ck_assert (verify && verify->damage->len == 0);
  ck_assert (bk_repository_delete (scene_repository, "web01", "C", &error));
  check_nothing_is_left ();
}

/* In a process of its own, which ends at operation @n, or at the end. True when it came to the end. */
static bool
crash_at (Try try, unsigned n)
{
  int status = 0;
  g_clear_pointer (&scene_repository, bk_repository_unref);
  pid_t child = fork ();
  if (child == 0) {
    scene_open (NULL, BK_REPOSITORY_WRITE);
    bk_fsio_fail_at (n, -1);
    _exit (try (NULL) ? 0 : 1);
  }
  ck_assert (waitpid (child, &status, 0) == child);
  scene_open (NULL, BK_REPOSITORY_WRITE);
  ck_assert (WIFSIGNALED (status) || WEXITSTATUS (status) == 0);
  return WIFEXITED (status);
}

static bool
fail_at (Try try, unsigned n, int errsv)
{
  g_autoptr (GError) error = NULL;
  bk_fsio_fail_at (n, errsv);
  gboolean ok = try (&error);
  unsigned count = bk_fsio_count ();
  bk_fsio_fail_at (0, 0);
  ck_assert (ok || error);
  /* UNREACHABLE: the marker of the repository could not be read. */
  ck_assert_msg (ok || errsv != ENOSPC || g_error_matches (error, BK_ERROR, BK_ERROR_NO_SPACE) ||
                   g_error_matches (error, BK_ERROR, BK_ERROR_UNREACHABLE), "%s", error ? error->message : "");
  return count < n;
}

static void
give_back (void)
{
  g_autoptr (GError) error = NULL;
  if (bk_repository_has (scene_repository, "web01", "B"))
    ck_assert (bk_repository_delete (scene_repository, "web01", "B", &error));
  if (!bk_repository_has (scene_repository, "web01", "A"))
    ck_assert_msg (scene_backup ("A", NULL, first, SIZE, NULL, &error), "%s", error ? error->message : "");
}

/* @how: 0 = EIO, 1 = ENOSPC, 2 = a crash. */
static void
every_operation (Try try, int how, unsigned least)
{
  bool over = false;
  unsigned n = 0;
  for (n = 1; !over && n < 1000; n++) {
    over = how == 2 ? crash_at (try, n) : fail_at (try, n, how ? ENOSPC : EIO);
    if (how != 2)
      reopen ();
    check_after (bk_repository_has (scene_repository, "web01", "A"));
    give_back ();
  }
  ck_assert_uint_gt (n, least);
}

START_TEST (a_backup_fails_at_each_operation)
{
  every_operation (try_backup, _i, 10);
}
END_TEST

START_TEST (a_deletion_fails_at_each_operation)
{
  every_operation (try_delete, _i, 3);
}
END_TEST

START_TEST (a_cleaning_fails_at_each_operation)
{
  g_autoptr (GError) error = NULL;
  bool over = false;
  unsigned n = 0;
  for (n = 1; !over && n < 1000; n++) {
    /* Something that is half live, something dead, something in the trash. */
    ck_assert_msg (scene_backup ("B", "A", second, SIZE, touched, &error), "%s", error ? error->message : "");
    ck_assert (bk_repository_delete (scene_repository, "web01", "A", &error));
    over = _i == 2 ? crash_at (try_gc, n) : fail_at (try_gc, n, _i ? ENOSPC : EIO);
    if (_i != 2)
      reopen ();
    scene_check ("B", second, SIZE);
    check_after (false);
    give_back ();
  }
  ck_assert_uint_gt (n, 8);
}
END_TEST

/* --- what was stored and is not as it was --- */

/* Changes the byte at @offset (from the end where it is negative) of the only pack. */
static void
flip (off_t offset)
{
  g_autoptr (GPtrArray) packs = scene_files ("packs", false);
  uint8_t byte = 0;
  int fd = open (packs->pdata[0], O_RDWR);
  ck_assert (fd >= 0);
  off_t at = offset < 0 ? lseek (fd, offset, SEEK_END) : offset;
  ck_assert (pread (fd, &byte, 1, at) == 1);
  byte ^= 0x40;
  ck_assert (pwrite (fd, &byte, 1, at) == 1);
  close (fd);
}

/* The first chunk that is not zero lies first in the pack: its payload begins at 8 + 48. */
START_TEST (a_flipped_byte_is_found_named_and_healed)
{
  g_autoptr (GError) error = NULL;
  g_autofree uint8_t *found = g_malloc (SIZE);
  flip (8 + 48 + 5);
  reopen ();
  ck_assert (!scene_read ("A", found, SIZE, &error));
  bk_assert_error (error, BK_ERROR_CORRUPT);
  g_autoptr (BkRepositoryVerify) verify = bk_repository_verify (scene_repository, NULL, NULL, 2, NULL, NULL, NULL, NULL, &error);
  ck_assert (verify && verify->damage->len == 1);
  const BkRepositoryDamage *damage = verify->damage->pdata[0];
  ck_assert_str_eq (damage->backup, "A");
  ck_assert_str_eq (damage->disk, "vda");
  ck_assert_uint_eq (damage->length, CHUNK);
  g_autoptr (BkBackupInfo) info = bk_repository_read (scene_repository, "web01", "A", &error);
  ck_assert (info->damaged && info->verified_at == 0);
  /* All but this chunk can be had. */
  g_autoptr (BkReader) reader = bk_repository_open_disk (scene_repository, "web01", "A", "vda", NULL, &error);
  ck_assert (bk_reader_open (reader, 1, NULL, &error));
  for (uint64_t at = 0; at < SIZE; at += CHUNK) {
    gboolean ok = bk_reader_read (reader, 0, at, found, MIN (CHUNK, SIZE - at), &error);
    ck_assert (ok == (at != damage->offset));
    g_clear_error (&error);
  }
  g_clear_pointer (&reader, bk_reader_free);
  /* It stays known to be bad over a restart, and is no target of deduplication: who has the data heals it. */
  reopen ();
  ck_assert_msg (scene_backup ("H", NULL, first, SIZE, NULL, &error), "%s", error ? error->message : "");
  scene_check ("H", first, SIZE);
  scene_check ("A", first, SIZE);
  g_autoptr (BkRepositoryVerify) again = bk_repository_verify (scene_repository, NULL, NULL, 2, NULL, NULL, NULL, NULL, &error);
  ck_assert (again && again->damage->len == 0);
  g_autoptr (BkBackupInfo) healed = bk_repository_read (scene_repository, "web01", "A", &error);
  ck_assert (!healed->damaged && healed->verified_at > 0);
}
END_TEST

/* The tail names the table: without it chunks are found one by one. */
START_TEST (a_damaged_table_costs_nothing)
{
  flip (-3);
  reopen ();
  scene_check ("A", first, SIZE);
}
END_TEST

START_TEST (a_cut_pack_loses_its_end_alone)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (GPtrArray) packs = scene_files ("packs", false);
  g_autofree uint8_t *found = g_malloc (SIZE);
  ck_assert (truncate (packs->pdata[0], CHUNK / 2) == 0);
  reopen ();
  ck_assert (!scene_read ("A", found, SIZE, &error));
  bk_assert_error (error, BK_ERROR_CORRUPT);
  ck_assert (scene_backup ("H", NULL, first, SIZE, NULL, &error));
  scene_check ("H", first, SIZE);
  scene_check ("A", first, SIZE);
}
END_TEST

START_TEST (a_missing_pack_is_told_and_healed)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (GPtrArray) packs = scene_files ("packs", false);
  g_autofree uint8_t *found = g_malloc (SIZE);
  ck_assert (unlink (packs->pdata[0]) == 0);
  reopen ();
  ck_assert (!scene_read ("A", found, SIZE, &error));
  bk_assert_error (error, BK_ERROR_CORRUPT);
  g_autoptr (BkRepositoryVerify) verify = bk_repository_verify (scene_repository, "web01", "A", 2, NULL, NULL, NULL, NULL, &error);
  ck_assert (verify && verify->damage->len > 0);
  BkRepositoryGc result;
  ck_assert (!bk_repository_gc (scene_repository, 0, FALSE, NULL, NULL, NULL, &result, &error));
  bk_assert_error (error, BK_ERROR_CORRUPT);
  ck_assert (scene_backup ("H", NULL, first, SIZE, NULL, &error));
  scene_check ("A", first, SIZE);
}
END_TEST

START_TEST (a_changed_manifest_is_no_manifest)
{
  g_autoptr (GError) error = NULL;
  g_autofree char *path = g_build_filename (scene_root, "backups", "web01", "A", NULL);
  g_autofree char *text = NULL;
  BkRepositoryGc result;
  size_t length = 0;
  ck_assert (g_file_get_contents (path, &text, &length, NULL));
  text[length / 2] ^= 1;
  ck_assert (g_file_set_contents (path, text, (gssize)length, NULL));
  ck_assert_ptr_null (bk_repository_read (scene_repository, "web01", "A", &error));
  bk_assert_error (error, BK_ERROR_CORRUPT);
  g_autoptr (GPtrArray) list = bk_repository_list (scene_repository, &error);
  ck_assert_uint_eq (list->len, 0);
  /* What it leads to is not known: nothing may be freed. */
  ck_assert (!bk_repository_gc (scene_repository, 0, FALSE, NULL, NULL, NULL, &result, &error));
  bk_assert_error (error, BK_ERROR_CORRUPT);
  text[length / 2] ^= 1;
  ck_assert (g_file_set_contents (path, text, (gssize)length, NULL));
  scene_check ("A", first, SIZE);
}
END_TEST

int
main (void)
{
  const TTest *const faults[] = { a_backup_fails_at_each_operation, a_deletion_fails_at_each_operation, a_cleaning_fails_at_each_operation };
  const TTest *const damage[] = { a_flipped_byte_is_found_named_and_healed, a_damaged_table_costs_nothing, a_cut_pack_loses_its_end_alone,
                                  a_missing_pack_is_told_and_healed, a_changed_manifest_is_no_manifest };
  Suite *suite = suite_create ("repository-faults");
  TCase *each = tcase_create ("each operation"), *some = tcase_create ("damage");
  tcase_add_checked_fixture (each, start, stop);
  tcase_set_timeout (each, 120);
  for (size_t i = 0; i < G_N_ELEMENTS (faults); i++)
    tcase_add_loop_test (each, faults[i], 0, 3);
  tcase_add_checked_fixture (some, start, stop);
  tcase_set_timeout (some, 60);
  for (size_t i = 0; i < G_N_ELEMENTS (damage); i++)
    tcase_add_test (some, damage[i]);
  suite_add_tcase (suite, each);
  suite_add_tcase (suite, some);
  SRunner *runner = srunner_create (suite);
  srunner_run_all (runner, CK_NORMAL);
  int failed = srunner_ntests_failed (runner);
  srunner_free (runner);
  return failed == 0 ? 0 : 1;
}
