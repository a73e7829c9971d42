/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "image.h"
#include "suite.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

START_TEST (tells_kinds)
{
  ck_assert_int_eq (bk_output_kind ("nbd://host:10809/x"), BK_OUTPUT_NBD);
  ck_assert_int_eq (bk_output_kind ("nbd+unix:///x?socket=/run/s"), BK_OUTPUT_NBD);
  ck_assert_int_eq (bk_output_kind ("/tmp/nbd://x"), BK_OUTPUT_FILE);
  ck_assert_int_eq (bk_output_kind ("/dev/null"), BK_OUTPUT_FILE);
}
END_TEST

static char *folder;

static void
assert_check (const char *name, const char *format, bool force, int wanted)
{
  g_autoptr (GError) error = NULL;
  g_autofree char *path = g_build_filename (folder, name, NULL);
  gboolean ok = bk_output_check (path, format, 1024, force, &error);
  if (wanted < 0)
    bk_assert_no_error (error);
  else
    ck_assert_msg (g_error_matches (error, BK_ERROR, wanted), "%s: %s", name, error ? error->message : "no error");
  ck_assert_int_eq (ok, wanted < 0);
}

START_TEST (checks_files)
{
  folder = bk_suite_folder ();
  g_autofree char *file = g_build_filename (folder, "file", NULL);
  g_autofree char *link = g_build_filename (folder, "link", NULL);
  g_autofree char *fifo = g_build_filename (folder, "fifo", NULL);
  ck_assert (g_file_set_contents (file, "old", -1, NULL));
  ck_assert_int_eq (symlink (file, link), 0);
  ck_assert_int_eq (mkfifo (fifo, 0600), 0);
  assert_check ("new", "raw", false, -1);
  assert_check ("new", "qcow2", false, -1);
  assert_check ("file", "raw", false, BK_ERROR_CONFLICT);
  assert_check ("file", "raw", true, -1);
  assert_check ("link", "raw", true, BK_ERROR_CONFLICT);
  assert_check ("fifo", "raw", true, BK_ERROR_CONFLICT);
  assert_check ("sub/", "raw", true, BK_ERROR_INVALID);
  assert_check ("none/new", "raw", false, BK_ERROR_NOT_FOUND);
  g_autofree char *text = NULL;
  ck_assert (g_file_get_contents (file, &text, NULL, NULL));
  ck_assert_str_eq (text, "old");
  g_free (folder);
}
END_TEST

/* As QEMU does it, even for what it only reads. */
START_TEST (refuses_what_another_program_has_locked)
{
  folder = bk_suite_folder ();
  g_autofree char *file = g_build_filename (folder, "file", NULL);
  ck_assert (g_file_set_contents (file, "old", -1, NULL));
  int fd = open (file, O_RDWR | O_CLOEXEC);
  struct flock lock = { .l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = 201, .l_len = 1 };
  ck_assert_int_eq (fcntl (fd, F_OFD_SETLK, &lock), 0);
  assert_check ("file", "raw", true, BK_ERROR_CONFLICT);
  g_autoptr (GError) error = NULL;
  ck_assert (!bk_output_check_unused (file, &error));
  bk_assert_error (error, BK_ERROR_CONFLICT);
  close (fd);
  assert_check ("file", "raw", true, -1);
  g_free (folder);
}
END_TEST

START_TEST (refuses_relative_paths_and_odd_formats)
{
  g_autoptr (GError) error = NULL;
  ck_assert (!bk_output_check ("disk.raw", "raw", 1, false, &error));
  bk_assert_error (error, BK_ERROR_INVALID);
  ck_assert (!bk_output_check ("nbd://host/x", "qcow2", 1, false, &error));
  bk_assert_error (error, BK_ERROR_INVALID);
  ck_assert (bk_output_check ("nbd://host/x", "raw", 1, false, &error));
}
END_TEST

int
main (void)
{
  const TTest *const tests[] = { tells_kinds, checks_files, refuses_what_another_program_has_locked, refuses_relative_paths_and_odd_formats, NULL };
  return bk_suite_run ("output", tests);
}
