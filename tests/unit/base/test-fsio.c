/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fsio.h"
#include "suite.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char *folder;

static void
start (void)
{
  g_free (folder);
  folder = bk_suite_folder ();
}

static char *
in_folder (const char *name)
{
  return g_build_filename (folder, name, NULL);
}

static void
put (const char *path, const char *text)
{
  g_autoptr (GError) error = NULL;
  bool ok = bk_fsio_write_file (path, text, strlen (text), &error);
  bk_assert_no_error (error);
  ck_assert (ok);
}

static void
assert_content (const char *path, const char *wanted)
{
  g_autoptr (GError) error = NULL;
  g_autofree char *text = NULL;
  size_t length = 0;
  bool ok = bk_fsio_read_file (path, 1024, &text, &length, &error);
  bk_assert_no_error (error);
  ck_assert (ok);
  ck_assert_str_eq (text, wanted);
  ck_assert_uint_eq (length, strlen (wanted));
}

static unsigned
count_entries (const char *path)
{
  unsigned count = 0;
  g_autoptr (GDir) dir = g_dir_open (path, 0, NULL);
  while (g_dir_read_name (dir) != NULL)
    count++;
  return count;
}

START_TEST (writes_and_reads)
{
  start ();
  g_autofree char *path = in_folder ("a");
  put (path, "one");
  put (path, "two\n");
  assert_content (path, "two\n");
  struct stat st;
  ck_assert_int_eq (stat (path, &st), 0);
  ck_assert_uint_eq (st.st_mode & 0777, 0600);
  ck_assert_uint_eq (count_entries (folder), 1);
}
END_TEST

START_TEST (reads_up_to_the_limit)
{
  start ();
  g_autoptr (GError) error = NULL;
  g_autofree char *path = in_folder ("a");
  g_autofree char *text = NULL;
  put (path, "0123456789");
  ck_assert (bk_fsio_read_file (path, 10, &text, NULL, &error));
  ck_assert_str_eq (text, "0123456789");
  g_clear_pointer (&text, g_free);
  ck_assert (!bk_fsio_read_file (path, 9, &text, NULL, &error));
  bk_assert_error (error, BK_ERROR_CORRUPT);
  ck_assert_ptr_null (text);
}
END_TEST

START_TEST (tells_what_is_not_there)
{
  start ();
  g_autoptr (GError) error = NULL;
  g_autofree char *path = in_folder ("none");
  g_autofree char *text = NULL;
  ck_assert (!bk_fsio_read_file (path, 9, &text, NULL, &error));
  ck_assert_ptr_nonnull (strstr (error->message, path));
  bk_assert_error (error, BK_ERROR_NOT_FOUND);
  ck_assert (!bk_fsio_sync (path, &error));
  bk_assert_error (error, BK_ERROR_NOT_FOUND);
}
END_TEST

START_TEST (is_not_held_by_a_fifo)
{
  start ();
  g_autoptr (GError) error = NULL;
  g_autofree char *path = in_folder ("fifo");
  g_autofree char *text = NULL;
  ck_assert_int_eq (mkfifo (path, 0600), 0);
  ck_assert (!bk_fsio_read_file (path, 9, &text, NULL, &error));
  bk_assert_error (error, BK_ERROR_FAILED);
}
END_TEST

START_TEST (writes_json_with_a_newline)
{
  start ();
  g_autoptr (GError) error = NULL;
  g_autofree char *path = in_folder ("a.json");
  json_object *json = json_object_new_object ();
  json_object_object_add (json, "path", json_object_new_string ("/a/b"));
  ck_assert (bk_fsio_write_json (path, json, &error));
  json_object_put (json);
  assert_content (path, "{\n  \"path\":\"/a/b\"\n}\n");
}
END_TEST

START_TEST (makes_folders)
{
  start ();
  g_autoptr (GError) error = NULL;
  g_autofree char *deep = in_folder ("x/y/z");
  g_autofree char *file = in_folder ("x/file");
  g_autofree char *below = in_folder ("x/file/z");
  ck_assert (bk_fsio_make_folder (deep, &error));
  ck_assert (bk_fsio_make_folder (deep, &error));
  struct stat st;
  ck_assert_int_eq (stat (deep, &st), 0);
  ck_assert_uint_eq (st.st_mode & 0777, 0700);
  put (file, "");
  ck_assert (!bk_fsio_make_folder (file, &error));
  bk_assert_error (error, BK_ERROR_FAILED);
  ck_assert (!bk_fsio_make_folder (below, &error));
  bk_assert_error (error, BK_ERROR_FAILED);
}
END_TEST

START_TEST (renames_without_replacing)
{
  start ();
  g_autoptr (GError) error = NULL;
  g_autofree char *from = in_folder ("from");
  g_autofree char *to = in_folder ("to");
  put (from, "new");
  put (to, "old");
  ck_assert (!bk_fsio_rename (from, to, FALSE, &error));
  bk_assert_error (error, BK_ERROR_CONFLICT);
  assert_content (to, "old");
  ck_assert (bk_fsio_rename (from, to, TRUE, &error));
  assert_content (to, "new");
  ck_assert (bk_fsio_rename (to, from, FALSE, &error));
  assert_content (from, "new");
  ck_assert (!bk_fsio_rename (to, from, TRUE, &error));
  bk_assert_error (error, BK_ERROR_NOT_FOUND);
}
END_TEST

START_TEST (removes_trees_and_follows_no_link)
{
  start ();
  g_autoptr (GError) error = NULL;
  g_autofree char *outside = in_folder ("outside");
  g_autofree char *kept = in_folder ("outside/kept");
  g_autofree char *tree = in_folder ("tree");
  g_autofree char *deep = in_folder ("tree/a/b");
  g_autofree char *file = in_folder ("tree/a/b/file");
  g_autofree char *link = in_folder ("tree/a/link");
  ck_assert (bk_fsio_make_folder (outside, &error));
  ck_assert (bk_fsio_make_folder (deep, &error));
  put (kept, "kept");
  put (file, "");
  ck_assert_int_eq (symlink (outside, link), 0);
  ck_assert (bk_fsio_remove (tree, &error));
  ck_assert (!g_file_test (tree, G_FILE_TEST_EXISTS));
  assert_content (kept, "kept");
  ck_assert (bk_fsio_remove (tree, &error));
  ck_assert (bk_fsio_remove (deep, &error));
  ck_assert (bk_fsio_remove (kept, &error));
  ck_assert (!g_file_test (kept, G_FILE_TEST_EXISTS));
}
END_TEST

START_TEST (opens_scratch)
{
  start ();
  g_autoptr (GError) error = NULL;
  int fd = bk_fsio_open_scratch (folder, 1 << 30, &error);
  bk_assert_no_error (error);
  struct stat st;
  ck_assert_int_eq (fstat (fd, &st), 0);
  ck_assert_int_eq (st.st_size, 1 << 30);
  ck_assert_uint_lt (st.st_blocks, 64);
  ck_assert_uint_eq (count_entries (folder), 0);
  ck_assert_int_eq (pwrite (fd, "x", 1, 4096), 1);
  close (fd);
  g_autofree char *missing = in_folder ("missing");
  ck_assert_int_eq (bk_fsio_open_scratch (missing, 1, &error), -1);
  bk_assert_error (error, BK_ERROR_NOT_FOUND);
  uint64_t bytes = 0;
  ck_assert (bk_fsio_free_space (folder, &bytes, &error));
  ck_assert_uint_gt (bytes, 0);
  ck_assert (!bk_fsio_free_space (missing, &bytes, &error));
  bk_assert_error (error, BK_ERROR_NOT_FOUND);
}
END_TEST

/* Old or new content, no leavings, and the new content the second time. */
START_TEST (fails_whole_at_each_operation)
{
  start ();
  g_autofree char *path = in_folder ("a");
  bool done = false;
  unsigned n = 0;
  while (!done) {
    g_autoptr (GError) error = NULL;
    put (path, "old");
    bk_fsio_fail_at (++n, ENOSPC);
    done = bk_fsio_write_file (path, "new", 3, &error);
    bk_fsio_fail_at (0, 0);
    g_autofree char *text = NULL;
    ck_assert (g_file_get_contents (path, &text, NULL, NULL));
    ck_assert (g_str_equal (text, "old") || g_str_equal (text, "new"));
    ck_assert (!done || g_str_equal (text, "new"));
    ck_assert_uint_eq (count_entries (folder), 1);
    if (!done)
      bk_assert_error (error, BK_ERROR_NO_SPACE);
  }
  ck_assert_uint_eq (n, 6); /* create, write, fsync, rename, fsync of the folder */
}
END_TEST

START_TEST (counts_operations)
{
  start ();
  g_autofree char *path = in_folder ("a");
  bk_fsio_fail_at (0, 0);
  ck_assert_uint_eq (bk_fsio_count (), 0);
  put (path, "x");
  ck_assert_uint_eq (bk_fsio_count (), 5);
}
END_TEST

/* In a child with that environment, writes "new" over "old"; returns the wait status. */
static int
write_in_child (const char *path, const char *variable, const char *value)
{
  pid_t pid = fork ();
  if (pid == 0) {
    g_setenv (variable, value, TRUE);
    _exit (bk_fsio_write_file (path, "new", 3, NULL) ? 0 : 1);
  }
  int status = -1;
  ck_assert_int_eq (waitpid (pid, &status, 0), pid);
  return status;
}

START_TEST (obeys_the_environment)
{
  start ();
  g_autofree char *path = in_folder ("a");
  ck_assert (g_file_set_contents (path, "old", -1, NULL)); /* no operation yet: each child reads its environment */
  int status = write_in_child (path, "BACKUPD_CRASH_IO", "4");
  ck_assert (WIFSIGNALED (status) && WTERMSIG (status) == SIGKILL);
  assert_content (path, "old");
}
END_TEST

START_TEST (fails_by_the_environment)
{
  start ();
  g_autofree char *path = in_folder ("a");
  ck_assert (g_file_set_contents (path, "old", -1, NULL));
  int status = write_in_child (path, "BACKUPD_FAIL_IO", "3");
  ck_assert (WIFEXITED (status) && WEXITSTATUS (status) == 1);
  status = write_in_child (path, "BACKUPD_FAIL_IO", "6");
  ck_assert (WIFEXITED (status) && WEXITSTATUS (status) == 0);
  assert_content (path, "new");
}
END_TEST

int
main (void)
{
  const TTest *const tests[] = { writes_and_reads,
                                 reads_up_to_the_limit,
                                 tells_what_is_not_there,
                                 is_not_held_by_a_fifo,
                                 writes_json_with_a_newline,
                                 makes_folders,
                                 renames_without_replacing,
                                 removes_trees_and_follows_no_link,
                                 opens_scratch,
                                 fails_whole_at_each_operation,
                                 counts_operations,
                                 obeys_the_environment,
                                 fails_by_the_environment,
                                 NULL };
  int status = bk_suite_run ("fsio", tests);
  g_free (folder);
  return status;
}
