/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Whoever writes to a watched image is noticed, be it by his lock or by what he leaves; who only reads is not.
 */
#include "image-watch.h"
#include "suite.h"

#include <fcntl.h>
#include <glib/gstdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char *
new_image (void)
{
  g_autofree char *folder = bk_suite_folder ();
  char *path = g_build_filename (folder, "an image", NULL);
  ck_assert (g_file_set_contents (path, "content", -1, NULL));
  return path;
}

static GStrv
watch (const char *path)
{
  g_autoptr (GError) error = NULL;
  g_autofree char *one = bk_image_watch_new (path, &error);
  bk_assert_no_error (error);
  const char *const watches[] = { one, NULL };
  return g_strdupv ((GStrv)watches);
}

static void
assert_unchanged (GStrv watches)
{
  g_autoptr (GError) error = NULL;
  ck_assert (bk_image_watch_check ((const char *const *)watches, &error));
  bk_assert_no_error (error);
}

static void
assert_changed (GStrv watches, const char *text)
{
  g_autoptr (GError) error = NULL;
  ck_assert (!bk_image_watch_check ((const char *const *)watches, &error));
  ck_assert_msg (strstr (error->message, text) != NULL, "%s", error->message);
}

/* As QEMU does for permission @permission. */
static int
lock (const char *path, int permission)
{
  struct flock flock = { .l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = 100 + permission, .l_len = 1 };
  int fd = open (path, O_RDWR | O_CLOEXEC);
  ck_assert_int_ge (fd, 0);
  ck_assert_int_eq (fcntl (fd, F_OFD_SETLK, &flock), 0);
  return fd;
}

START_TEST (readers_are_not_noticed)
{
  g_autofree char *path = new_image ();
  g_auto (GStrv) watches = watch (path);
  g_autofree char *content = NULL;
  int reader = lock (path, 0);
  ck_assert (g_file_get_contents (path, &content, NULL, NULL));
  assert_unchanged (watches);
  close (reader);
  assert_unchanged (watches);
}
END_TEST

START_TEST (writers_are_noticed_by_their_lock)
{
  g_autoptr (GError) error = NULL;
  g_autofree char *path = new_image ();
  g_auto (GStrv) watches = watch (path);
  bool written = true;
  ck_assert (bk_image_is_written (path, &written, &error) && !written);
  int writer = lock (path, 1);
  ck_assert (bk_image_is_written (path, &written, &error) && written);
  assert_changed (watches, "was opened for writing");
  close (writer);
  assert_unchanged (watches); /* it has not written */
}
END_TEST

/* At once, with the same content and size, and with the old time put back. */
START_TEST (what_was_written_is_noticed)
{
  g_autofree char *path = new_image ();
  g_auto (GStrv) watches = watch (path);
  int fd = open (path, O_RDWR | O_CLOEXEC);
  ck_assert_int_eq (pwrite (fd, "c", 1, 0), 1);
  close (fd);
  assert_changed (watches, "was changed");
  g_auto (GStrv) again = watch (path);
  struct stat before;
  ck_assert_int_eq (stat (path, &before), 0);
  fd = open (path, O_RDWR | O_CLOEXEC);
  ck_assert_int_eq (pwrite (fd, "d", 1, 0), 1);
  const struct timespec times[] = { before.st_atim, before.st_mtim };
  ck_assert_int_eq (futimens (fd, times), 0);
  close (fd);
  assert_changed (again, "was changed");
}
END_TEST

START_TEST (another_file_of_the_name_is_noticed)
{
  g_autoptr (GError) error = NULL;
  g_autofree char *path = new_image ();
  g_auto (GStrv) watches = watch (path);
  ck_assert (g_file_set_contents (path, "content", -1, NULL));
  assert_changed (watches, "was changed");
  ck_assert_int_eq (g_unlink (path), 0);
  assert_changed (watches, "cannot look at image");
  ck_assert_ptr_null (bk_image_watch_new (path, &error));
  bk_assert_error (error, BK_ERROR_NOT_FOUND);
}
END_TEST

/* The clock of a file system goes in steps: what is written in the same step as the watch was made must show, too. */
START_TEST (waits_for_the_next_step_of_the_clock)
{
  g_autofree char *path = new_image ();
  for (int i = 0; i < 20; i++) {
    int fd = open (path, O_RDWR | O_CLOEXEC);
    ck_assert_int_eq (pwrite (fd, "x", 1, 0), 1);
    g_auto (GStrv) watches = watch (path);
    ck_assert_int_eq (pwrite (fd, "y", 1, 0), 1);
    close (fd);
    assert_changed (watches, "was changed");
  }
}
END_TEST

int
main (void)
{
  const TTest *const tests[] = { readers_are_not_noticed, writers_are_noticed_by_their_lock, what_was_written_is_noticed, another_file_of_the_name_is_noticed,
                                 waits_for_the_next_step_of_the_clock, NULL };
  return bk_suite_run ("image watch", tests);
}
