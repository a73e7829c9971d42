/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "image.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

BkOutputKind
bk_output_kind (const char *output)
{
  static const char *const schemes[] = { "nbd://", "nbds://", "nbd+unix://", "nbds+unix://", "nbd+tcp://" };
  for (size_t i = 0; i < G_N_ELEMENTS (schemes); i++)
    if (g_str_has_prefix (output, schemes[i]))
      return BK_OUTPUT_NBD;
  struct stat st;
  return stat (output, &st) == 0 && S_ISBLK (st.st_mode) ? BK_OUTPUT_DEVICE : BK_OUTPUT_FILE;
}

static gboolean
check_raw (const char *output, const char *format, GError **error)
{
  if (g_str_equal (format, "raw"))
    return TRUE;
  g_set_error (error, BK_ERROR, BK_ERROR_INVALID,
               "'%s' takes format raw only, not %s; name a file to get an image in that format", output, format);
  return FALSE;
}

/* O_EXCL: EBUSY for a device that is mounted, or part of something else. */
static int
open_device (const char *output, GError **error)
{
  int fd = open (output, O_RDWR | O_EXCL | O_CLOEXEC);
  if (fd < 0 && errno == EBUSY)
    g_set_error (error, BK_ERROR, BK_ERROR_CONFLICT, "block device '%s' is in use; unmount it first", output);
  else if (fd < 0)
    bk_error_set_errno (error, errno, "cannot open block device '%s'", output);
  return fd;
}

/* QEMU and qemu-img lock what they have open, for reading too. What is replaced under a running VM would be lost to it
 * without a word; what is written under it, worse. */
static gboolean
check_unlocked (int fd, const char *output, GError **error)
{
  struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
  if (fcntl (fd, F_OFD_GETLK, &lock) < 0 || lock.l_type == F_UNLCK) /* no locks there: nothing to be known */
    return TRUE;
  g_set_error (error, BK_ERROR, BK_ERROR_CONFLICT,
               "'%s' is in use by another program, such as a running VM; name another, or end that first", output);
  return FALSE;
}

gboolean
bk_output_check_unused (const char *output, GError **error)
{
  struct stat st;
  if (bk_output_kind (output) == BK_OUTPUT_NBD || stat (output, &st) < 0 || !(S_ISREG (st.st_mode) || S_ISBLK (st.st_mode)))
    return TRUE;
  int fd = open (output, O_RDWR | O_NONBLOCK | O_CLOEXEC);
  if (fd < 0)
    return bk_error_set_errno (error, errno, "cannot open '%s'", output);
  gboolean unused = check_unlocked (fd, output, error);
  close (fd);
  return unused;
}

static gboolean
check_device (const char *output, uint64_t size, GError **error)
{
  int fd = open_device (output, error);
  if (fd < 0)
    return FALSE;
  uint64_t bytes = 0;
  int result = ioctl (fd, BLKGETSIZE64, &bytes);
  int errsv = errno;
  gboolean unused = check_unlocked (fd, output, error);
  close (fd);
  if (!unused)
    return FALSE;
  if (result < 0)
    return bk_error_set_errno (error, errsv, "cannot ask for the size of '%s'", output);
  if (bytes >= size)
    return TRUE;
  g_set_error (error, BK_ERROR, BK_ERROR_NO_SPACE,
               "block device '%s' has %" PRIu64 " bytes, %" PRIu64 " are needed; use a larger one", output, bytes,
               size);
  return FALSE;
}

static gboolean
check_folder (const char *output, GError **error)
{
  g_autofree char *folder = g_path_get_dirname (output);
  if (!g_file_test (folder, G_FILE_TEST_IS_DIR)) {
    g_set_error (error, BK_ERROR, BK_ERROR_NOT_FOUND, "there is no folder '%s'; make it first", folder);
    return FALSE;
  }
  if (access (folder, W_OK | X_OK) < 0)
    return bk_error_set_errno (error, errno, "cannot write in folder '%s'", folder);
  return TRUE;
}

static gboolean
check_file (const char *output, bool force, GError **error)
{
  struct stat st;
  if (!g_path_is_absolute (output) || g_str_has_suffix (output, "/")) {
    g_set_error (error, BK_ERROR, BK_ERROR_INVALID, "'%s' is no absolute path of a file", output);
    return FALSE;
  }
  g_autofree char *name = g_path_get_basename (output);
  if (strlen (name) > NAME_MAX - strlen (BK_IMAGE_TEMPORARY_SUFFIX)) {
    g_set_error (error, BK_ERROR, BK_ERROR_INVALID, "the file name '%s' is too long", name);
    return FALSE;
  }
  if (!check_folder (output, error))
    return FALSE;
  if (lstat (output, &st) < 0)
    return errno == ENOENT ? TRUE : bk_error_set_errno (error, errno, "cannot look at '%s'", output);
  if (!S_ISREG (st.st_mode)) {
    g_set_error (error, BK_ERROR, BK_ERROR_CONFLICT, "'%s' exists and is not a regular file; name another", output);
    return FALSE;
  }
  if (force)
    return bk_output_check_unused (output, error);
  g_set_error (error, BK_ERROR, BK_ERROR_CONFLICT, "'%s' exists already; use --force to replace it", output);
  return FALSE;
}

gboolean
bk_output_check (const char *output, const char *format, uint64_t size, bool force, GError **error)
{
  switch (bk_output_kind (output)) {
  case BK_OUTPUT_NBD:
    return check_raw (output, format, error);
  case BK_OUTPUT_DEVICE:
    return check_raw (output, format, error) && check_device (output, size, error);
  case BK_OUTPUT_FILE:
    return check_file (output, force, error);
  }
  g_assert_not_reached ();
}
