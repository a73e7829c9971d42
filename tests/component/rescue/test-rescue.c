/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "rescue-scene.h"

#include "bk-error.h"

#include <fcntl.h>
#include <glib/gstdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/* One line on stderr with @words in it, and the exit status of @code. */
static void
check_refusal (int status, const char *err, BkErrorCode code, const char *words)
{
  ck_assert_msg (status == bk_error_entry (code)->exit_status, "status %d: %s", status, err);
  ck_assert_msg (g_str_has_prefix (err, "backup-rescue: "), "%s", err);
  ck_assert_msg (strstr (err, words) != NULL, "%s", err);
  ck_assert_ptr_eq (strchr (err, '\n'), err + strlen (err) - 1);
}

START_TEST (extracts_what_was_backed_up)
{
  rescue_start (NULL);
  struct stat st;
  g_autofree char *out = NULL, *err = NULL, *file = rescue_path ("vda.raw");
  int status = rescue_call (&out, &err, "extract", scene_root, "01B", "--disk", "vda", "--output", file, NULL);
  ck_assert_msg (status == 0, "%s", err);
  ck_assert_int_eq (stat (file, &st), 0);
  ck_assert_int_eq (st.st_size, SIZE);
  rescue_check_file (file, 0, rescue_disk, SIZE);
  rescue_stop ();
}
END_TEST

START_TEST (does_not_replace_without_force)
{
  rescue_start (NULL);
  g_autofree char *err = NULL, *file = rescue_path ("vda.raw");
  ck_assert (g_file_set_contents (file, "mine", -1, NULL));
  int status = rescue_call (NULL, &err, "extract", scene_root, BACKUP, "--output", file, NULL);
  check_refusal (status, err, BK_ERROR_CONFLICT, "--force");
  rescue_check_file (file, 0, (const uint8_t *)"mine", 4);
  ck_assert_int_eq (rescue_call (NULL, NULL, "extract", scene_root, BACKUP, "--output", file, "--force", NULL), 0);
  rescue_check_file (file, 0, rescue_disk, SIZE);
  rescue_stop ();
}
END_TEST

/* In the folder of the output: one that a killed extract left, one that is being written, and one that is somebody's own. */
START_TEST (clears_what_a_killed_extract_left)
{
  rescue_start (NULL);
  g_autofree char *err = NULL, *file = rescue_path ("vda.raw"), *part = rescue_path ("vda.raw.part");
  int fd = open (part, O_RDWR | O_CREAT, 0600);
  ck_assert_int_eq (ftruncate (fd, SIZE), 0);
  ck_assert_int_eq (flock (fd, LOCK_EX), 0);
  int status = rescue_call (NULL, &err, "extract", scene_root, BACKUP, "--output", file, NULL);
  check_refusal (status, err, BK_ERROR_CONFLICT, "is being written by another program");
  close (fd);
  g_clear_pointer (&err, g_free);
  ck_assert_int_eq (rescue_call (NULL, &err, "extract", scene_root, BACKUP, "--output", file, NULL), 0);
  ck_assert_msg (strstr (err, "removed '") && strstr (err, "vda.raw.part'"), "%s", err);
  rescue_check_file (file, 0, rescue_disk, SIZE);
  ck_assert (!g_file_test (part, G_FILE_TEST_EXISTS));
  g_clear_pointer (&err, g_free);
  ck_assert (g_file_set_contents (part, "mine", -1, NULL));
  status = rescue_call (NULL, &err, "extract", scene_root, BACKUP, "--output", file, "--force", NULL);
  check_refusal (status, err, BK_ERROR_CONFLICT, "is not what an extract of this disk leaves");
  rescue_check_file (part, 0, (const uint8_t *)"mine", 4);
  rescue_stop ();
}
END_TEST

START_TEST (lists_and_verifies)
{
  rescue_start (NULL);
  g_autofree char *list = NULL, *verify = NULL;
  ck_assert_int_eq (rescue_call (&list, NULL, "list", scene_root, NULL), 0);
  ck_assert_msg (g_str_has_prefix (list, BACKUP "  web01  ") && strstr (list, "vda (") != NULL, "%s", list);
  ck_assert_int_eq (rescue_call (&verify, NULL, "verify", scene_root, NULL), 0);
  ck_assert_msg (g_str_has_prefix (verify, "1 backups, "), "%s", verify);
  rescue_stop ();
}
END_TEST

START_TEST (says_what_is_wrong)
{
  rescue_start (NULL);
  g_autofree char *err = NULL, *file = rescue_path ("vda.raw");
  int status = rescue_call (NULL, &err, "extract", scene_root, "02", "--output", file, NULL);
  check_refusal (status, err, BK_ERROR_NOT_FOUND, "no backup '02'");
  g_clear_pointer (&err, g_free);
  status = rescue_call (NULL, &err, "extract", scene_root, BACKUP, "--disk", "vdx", "--output", file, NULL);
  check_refusal (status, err, BK_ERROR_NOT_FOUND, "it has vda");
  g_clear_pointer (&err, g_free);
  g_autofree char *nothing = rescue_path ("nothing");
  status = rescue_call (NULL, &err, "list", nothing, NULL);
  check_refusal (status, err, BK_ERROR_NOT_FOUND, nothing);
  g_clear_pointer (&err, g_free);
  status = rescue_call (NULL, &err, "extract", scene_root, BACKUP, NULL);
  check_refusal (status, err, BK_ERROR_INVALID, "--output");
  ck_assert (!g_file_test (file, G_FILE_TEST_EXISTS));
  rescue_stop ();
}
END_TEST

START_TEST (leaves_nothing_where_a_chunk_is_damaged)
{
  rescue_start (NULL);
  g_autofree char *err = NULL, *file = rescue_path ("vda.raw"), *part = rescue_path ("vda.raw.part");
  rescue_spoil_chunk (rescue_find_random ());
  int status = rescue_call (NULL, &err, "extract", scene_root, BACKUP, "--output", file, NULL);
  check_refusal (status, err, BK_ERROR_CORRUPT, "vda");
  ck_assert (!g_file_test (file, G_FILE_TEST_EXISTS) && !g_file_test (part, G_FILE_TEST_EXISTS));
  g_clear_pointer (&err, g_free);
  g_autofree char *out = NULL;
  status = rescue_call (&out, &err, "verify", scene_root, BACKUP, NULL);
  check_refusal (status, err, BK_ERROR_CORRUPT, "damaged");
  ck_assert_msg (strstr (out, "offset 458752 length 65536") != NULL, "%s", out);
  rescue_stop ();
}
END_TEST

START_TEST (salvages_all_but_the_damaged_chunk)
{
  rescue_start (NULL);
  g_autofree char *err = NULL, *map = NULL, *file = rescue_path ("vda.raw"), *damaged = rescue_path ("vda.raw.damaged");
  const uint64_t bad = rescue_find_random ();
  rescue_spoil_chunk (bad);
  int status = rescue_call (NULL, &err, "extract", scene_root, BACKUP, "--output", file, "--salvage", NULL);
  check_refusal (status, err, BK_ERROR_CORRUPT, "*.damaged");
  ck_assert (g_file_get_contents (damaged, &map, NULL, NULL));
  ck_assert_str_eq (map, "458752 65536\n");
  memset (rescue_disk + bad, 0, CHUNK);
  rescue_check_file (file, 0, rescue_disk, SIZE);
  rescue_stop ();
}
END_TEST

/* Even the map of the disk is gone: there is nothing to extract, and all of it is told. */
START_TEST (salvages_without_packs)
{
  rescue_start (NULL);
  g_autofree char *err = NULL, *map = NULL, *wanted = g_strdup_printf ("0 %u\n", SIZE);
  g_autofree char *file = rescue_path ("vda.raw"), *damaged = rescue_path ("vda.raw.damaged");
  g_autoptr (GPtrArray) packs = scene_files ("packs", false);
  ck_assert_uint_gt (packs->len, 0);
  for (unsigned i = 0; i < packs->len; i++)
    ck_assert_int_eq (g_unlink (packs->pdata[i]), 0);
  int status = rescue_call (NULL, &err, "extract", scene_root, BACKUP, "--output", file, "--salvage", NULL);
  check_refusal (status, err, BK_ERROR_CORRUPT, "*.damaged");
  ck_assert (g_file_get_contents (damaged, &map, NULL, NULL));
  ck_assert_str_eq (map, wanted);
  rescue_stop ();
}
END_TEST

START_TEST (needs_the_right_passphrase)
{
  rescue_start ("correct horse");
  g_autofree char *err = NULL, *file = rescue_path ("vda.raw"), *secret = rescue_path ("secret");
  int status = rescue_call (NULL, &err, "list", scene_root, NULL);
  check_refusal (status, err, BK_ERROR_DENIED, "");
  g_clear_pointer (&err, g_free);
  ck_assert (g_file_set_contents (secret, "wrong\n", -1, NULL));
  status = rescue_call (NULL, &err, "list", scene_root, "--passphrase-file", secret, NULL);
  check_refusal (status, err, BK_ERROR_DENIED, "");
  ck_assert (g_file_set_contents (secret, "correct horse\n", -1, NULL));
  ck_assert_int_eq (rescue_call (NULL, NULL, "extract", scene_root, BACKUP, "--passphrase-file", secret, "--output", file, NULL), 0);
  rescue_check_file (file, 0, rescue_disk, SIZE);
  rescue_stop ();
}
END_TEST

int
main (void)
{
  const TTest *const tests[] = {
    extracts_what_was_backed_up,
    does_not_replace_without_force,
    clears_what_a_killed_extract_left,
    lists_and_verifies,
    says_what_is_wrong,
    leaves_nothing_where_a_chunk_is_damaged,
    salvages_all_but_the_damaged_chunk,
    salvages_without_packs,
    needs_the_right_passphrase,
    NULL,
  };
  return bk_suite_run ("rescue", tests);
}
